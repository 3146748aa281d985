#include "core/error.hpp"
#include "ops/kernels/checks.hpp"
#include "ops/kernels/cuda/backend.hpp"
#include "ops/kernels/cuda/cudnn.hpp"
#include "ops/kernels/cuda/multiply.hpp"
#include "ops/kernels/cuda/quantized.hpp"

namespace skymm::cuda {
namespace {

class CudaLinearWeight : public LinearWeight {
 public:
  // Enqueue. Shapes have been checked.
  virtual void forward(const Matrix& x, const Epilogue& epilogue, const Matrix& y, Stream& stream) const = 0;
  virtual void input_gradient(const Matrix& dy, const Matrix& dx, bool accumulate, Stream& stream) const = 0;
};

// Tensor cores take the plain layout, both ways: there is nothing to pack.
class PlainWeight final : public CudaLinearWeight {
 public:
  explicit PlainWeight(const Tensor& weight) : weight_(weight) {
    out = weight.dim(0);
    in = weight.dim(1);
    compute_dtype = weight.dtype();
  }
  std::size_t bytes() const override { return weight_.bytes(); }
  Tensor plain() const override { return weight_; }
  std::vector<Tensor> tensors() const override { return {weight_}; }

  void forward(const Matrix& x, const Epilogue& epilogue, const Matrix& y, Stream& stream) const override {
    multiply(x, matrix().transposed(), y, epilogue, stream);
  }
  void input_gradient(const Matrix& dy, const Matrix& dx, bool accumulate, Stream& stream) const override {
    multiply(dy, matrix(), dx, {.accumulate = accumulate}, stream);
  }

 private:
  Matrix matrix() const { return matrix_of(weight_, "linear", "weight"); }

  Tensor weight_;
};

class QuantizedWeight final : public CudaLinearWeight {
 public:
  QuantizedWeight(std::span<const QuantizedTensor> parts, DType dtype) : parts_(parts.begin(), parts.end()) {
    for (const QuantizedTensor& part : parts_) out += part.rows();
    in = parts_[0].columns();
    compute_dtype = dtype;
  }
  std::size_t bytes() const override {
    std::size_t sum = 0;
    for (const QuantizedTensor& part : parts_) sum += part.bytes();
    return sum;
  }
  std::vector<Tensor> tensors() const override { return tensors_of(parts_); }
  Tensor plain() const override {
    const Tensor weight = Tensor::empty({out, in}, compute_dtype, parts_[0].codes.device());
    std::int64_t row = 0;
    for (const QuantizedTensor& part : parts_) {
      kernels(weight).dequantize(part, weight.slice(0, row, row + part.rows()));
      row += part.rows();
    }
    return weight;
  }

  void forward(const Matrix& x, const Epilogue& epilogue, const Matrix& y, Stream& stream) const override {
    multiply_quantized(x, parts_, y, epilogue, stream);
  }
  void input_gradient(const Matrix& dy, const Matrix& dx, bool accumulate, Stream& stream) const override {
    multiply_quantized_transposed(dy, parts_, dx, accumulate, stream);
  }

 private:
  std::vector<QuantizedTensor> parts_;
};

const CudaLinearWeight& on_cuda(const LinearWeight& w, const char* primitive) {
  const auto* weight = dynamic_cast<const CudaLinearWeight*>(&w);
  check(weight != nullptr, "{}: the weight was made by another device's kernels; make it with kernels(x)", primitive);
  return *weight;
}

}  // namespace

LinearWeightPtr CudaKernels::make_linear_weight(const Tensor& weight, Packing packing) {
  row_matrix_of(weight, "make_linear_weight", "weight");
  return std::make_shared<PlainWeight>(packing == Packing::none ? weight : weight.clone());
}

LinearWeightPtr CudaKernels::make_linear_weight(std::span<const QuantizedTensor> parts, DType compute_dtype) {
  check_quantized_parts(parts, compute_dtype);
  return std::make_shared<QuantizedWeight>(parts, compute_dtype);
}

void CudaKernels::linear(const Tensor& x, const LinearWeight& w, const Tensor& bias, Activation activation, Tensor y,
                         bool accumulate) {
  check_linear(x, w, bias, activation, y, accumulate);
  if (y.numel() == 0) return;
  on_cuda(w, "linear")
      .forward(matrix_of(x, "linear", "x"), epilogue_of(bias, activation, accumulate), matrix_of(y, "linear", "y"),
               current_stream(y.device()));
}

void CudaKernels::patch_embedding(const Tensor& pixels, std::int64_t patch, const LinearWeight& w, const Tensor& bias,
                                  Tensor y) {
  check_patch_embedding(pixels, patch, w, bias, y);
  const auto* plain = dynamic_cast<const PlainWeight*>(&w);
  if (plain != nullptr && y.numel() > 0 && patch_embedding_by_cudnn(pixels, patch, plain->plain(), bias, y)) return;
  Kernels::patch_embedding(pixels, patch, w, bias, y);
}

void CudaKernels::linear_input_gradient(const Tensor& dy, const LinearWeight& w, Tensor dx, bool accumulate) {
  const char* const name = "linear_input_gradient";
  check_linear_input_gradient(dy, w, dx);
  if (dx.numel() == 0) return;
  on_cuda(w, name).input_gradient(matrix_of(dy, name, "dy"), matrix_of(dx, name, "dx"), accumulate,
                                  current_stream(dx.device()));
}

void CudaKernels::linear_weight_gradient(const Tensor& dy, const Tensor& x, Tensor dw, float scale) {
  const Product p = weight_gradient_product(dy, x, dw);
  if (dw.numel() == 0 || dy.dim(0) == 0) return;
  cuda::multiply(p.a, p.b, p.c, {.alpha = scale, .accumulate = true}, current_stream(dw.device()));
}

// Once a weight, when a model is loaded: by the CPU's kernel, so that codes are the same bits everywhere.
void CudaKernels::quantize(const Tensor& weight, const QuantizedTensor& to) {
  check_layout(to, "quantize");
  check(weight.defined(), "quantize: the weight is undefined");
  const QuantizedTensor codes =
      QuantizedTensor::empty(to.shape, {.format = to.format, .double_quantization = to.is_double()}, cpu());
  kernels(cpu()).quantize(weight.to(cpu()), codes);
  to.codes.copy_from(codes.codes);
  to.scales.copy_from(codes.scales);
  if (!to.is_double()) return;
  to.scale_steps.copy_from(codes.scale_steps);
  to.scale_offset.copy_from(codes.scale_offset);
}

void CudaKernels::dequantize(const QuantizedTensor& x, Tensor weight) {
  check_layout(x, "dequantize");
  const Tensor to = matrix_of_codes(weight, "dequantize", x);
  cuda::dequantize(x, matrix_of(to, "dequantize", "weight"), current_stream(to.device()));
}

}  // namespace skymm::cuda
