// What each primitive of kernels.hpp asks of its arguments, for all backends: dtypes, shapes, adjacent elements, one
// device. A failure is an Error that names the primitive and the tensor. Matrix products and attention check theirs
// themselves.
#pragma once

#include "ops/kernels/kernels.hpp"

namespace skymm {

void check_layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& y, const Tensor& mean,
                      const Tensor& inv_std);
void check_layer_norm_input_gradient(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& mean,
                                     const Tensor& inv_std, const Tensor& dx);
void check_layer_norm_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& mean, const Tensor& inv_std,
                                      const Tensor& dweight, const Tensor& dbias);
void check_rms_norm(const Tensor& x, const Tensor& residual, const Tensor& weight, const Tensor& y,
                    const Tensor& inv_rms);
void check_rms_norm_input_gradient(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& inv_rms,
                                   const Tensor& dx);
void check_rms_norm_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& inv_rms, const Tensor& dweight);
void check_l2_normalize(const Tensor& x, const Tensor& y, const Tensor& inv_norm);
void check_l2_normalize_gradient(const Tensor& dy, const Tensor& y, const Tensor& inv_norm, const Tensor& dx);
void check_activation(const Tensor& x, const Tensor& y);
void check_activation_gradient(const Tensor& x, const Tensor& dy, const Tensor& dx);
void check_swiglu(const Tensor& gate_up, const Tensor& y);
void check_swiglu_gradient(const Tensor& gate_up, const Tensor& dy, const Tensor& dgate_up);
void check_add(const Tensor& x, const Tensor& y, const Tensor& z);
void check_multiply(const Tensor& x, const Tensor& y, const Tensor& z);
void check_add_rows(const Tensor& x, const Tensor& table, const Tensor& y);
void check_sum_rows(const Tensor& dy, const Tensor& dtable);
void check_dropout(const Tensor& x, float p, const Tensor& row_ids, const Tensor& y);
void check_rotary_embedding(const Tensor& x, const Tensor& positions, const Tensor& y);
void check_softmax(const Tensor& x, const Tensor& y);
void check_softmax_gradient(const Tensor& y, const Tensor& dy, const Tensor& dx);
void check_cross_entropy(const Tensor& logits, const Tensor& labels, const Tensor& losses, const Tensor& logsumexp);
void check_cross_entropy_gradient(const Tensor& logits, const Tensor& labels, const Tensor& logsumexp,
                                  const Tensor& dlogits);
void check_argmax(const Tensor& x, const Tensor& best);
void check_gather_rows(const Tensor& x, const Tensor& rows, const Tensor& y);
void check_scatter_rows(const Tensor& x, const Tensor& rows, const Tensor& y);
void check_scatter_add_rows(const Tensor& x, const Tensor& rows, const Tensor& y);
void check_extract_patches(const Tensor& pixels, std::int64_t patch, const Tensor& y);
void check_patch_embedding(const Tensor& pixels, std::int64_t patch, const LinearWeight& w, const Tensor& bias,
                           const Tensor& y);
void check_sum(const Tensor& x, const Tensor& out);
void check_sum_of_squares(std::span<const Tensor> xs, std::span<const Tensor> outs);
void check_count_non_finite(const Tensor& x, const Tensor& count);
void check_adamw(std::span<const AdamWTensors> tensors, const AdamW& options);

}  // namespace skymm
