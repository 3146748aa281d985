// The CUDA backend as a class; its methods are spread over the files of this folder by subject.
#pragma once

#include "ops/kernels/kernels.hpp"

namespace skymm::cuda {

class CudaKernels final : public Kernels {
 public:
  using Kernels::gemm;
  void gemm(const Tensor& a, const Tensor& b, Tensor c, const Gemm& options) override;
  LinearWeightPtr make_linear_weight(const Tensor& weight, Packing packing) override;
  void quantize(const Tensor& weight, const QuantizedTensor& to) override;
  void dequantize(const QuantizedTensor& x, Tensor weight) override;
  LinearWeightPtr make_linear_weight(std::span<const QuantizedTensor> parts, DType compute_dtype) override;
  void linear(const Tensor& x, const LinearWeight& w, const Tensor& bias, Activation activation, Tensor y,
              bool accumulate) override;
  void linear_input_gradient(const Tensor& dy, const LinearWeight& w, Tensor dx, bool accumulate) override;
  void linear_weight_gradient(const Tensor& dy, const Tensor& x, Tensor dw, float scale) override;
  void layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, float eps, Tensor y, Tensor mean,
                  Tensor inv_std) override;
  void layer_norm_input_gradient(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& mean,
                                 const Tensor& inv_std, Tensor dx, bool accumulate) override;
  void layer_norm_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& mean, const Tensor& inv_std,
                                  Tensor dweight, Tensor dbias) override;
  void rms_norm(Tensor x, const Tensor& residual, const Tensor& weight, float eps, Tensor y, Tensor inv_rms) override;
  void rms_norm_input_gradient(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& inv_rms,
                               Tensor dx, bool accumulate) override;
  void rms_norm_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& inv_rms, Tensor dweight) override;
  void l2_normalize(const Tensor& x, float eps, Tensor y, Tensor inv_norm) override;
  void l2_normalize_gradient(const Tensor& dy, const Tensor& y, const Tensor& inv_norm, Tensor dx) override;
  void activation(Activation kind, const Tensor& x, Tensor y) override;
  void activation_gradient(Activation kind, const Tensor& x, const Tensor& dy, Tensor dx) override;
  void swiglu(const Tensor& gate_up, Tensor y) override;
  void swiglu_gradient(const Tensor& gate_up, const Tensor& dy, Tensor dgate_up) override;
  void add(const Tensor& x, const Tensor& y, Tensor z) override;
  void multiply(const Tensor& x, const Tensor& y, float scale, Tensor z) override;
  void add_rows(const Tensor& x, const Tensor& table, Tensor y) override;
  void sum_rows(const Tensor& dy, Tensor dtable) override;
  void dropout(const Tensor& x, float p, const RandomKey& key, const Tensor& row_ids, Tensor y) override;
  void rotary_embedding(const Tensor& x, const Tensor& positions, float theta, bool inverse, Tensor y) override;
  void softmax(const Tensor& x, Tensor y) override;
  void softmax_gradient(const Tensor& y, const Tensor& dy, Tensor dx) override;
  void attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionShape& shape, Tensor out,
                 Tensor logsumexp) override;
  void attention_gradient(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out,
                          const Tensor& logsumexp, const AttentionShape& shape, Tensor dq, Tensor dk,
                          Tensor dv) override;
  void gather_rows(const Tensor& x, const Tensor& rows, Tensor y) override;
  void scatter_rows(const Tensor& x, const Tensor& rows, Tensor y) override;
  void scatter_add_rows(const Tensor& x, const Tensor& rows, Tensor y) override;
  void extract_patches(const Tensor& pixels, std::int64_t patch, Tensor y) override;
  void patch_embedding(const Tensor& pixels, std::int64_t patch, const LinearWeight& w, const Tensor& bias,
                       Tensor y) override;
  void cross_entropy(const Tensor& logits, const Tensor& labels, Tensor losses, Tensor logsumexp) override;
  void cross_entropy_gradient(const Tensor& logits, const Tensor& labels, const Tensor& logsumexp, float scale,
                              Tensor dlogits) override;
  void sum(const Tensor& x, Tensor out) override;
  void argmax(const Tensor& x, Tensor best) override;
  void sum_of_squares(std::span<const Tensor> xs, std::span<const Tensor> outs) override;
  void count_non_finite(const Tensor& x, Tensor count) override;
  void adamw(std::span<const AdamWTensors> tensors, const AdamW& options) override;
};

}  // namespace skymm::cuda
