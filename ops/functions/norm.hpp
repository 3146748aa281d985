// Normalisations of rows, differentiable. x: [T, D], f32 or bf16.
#pragma once

#include "core/graph.hpp"

namespace skymm {

// y = x / sqrt(mean(x^2) + eps) * weight, row by row (Zhang and Sennrich 2019). weight [D].
Variable rms_norm(const Variable& x, Parameter& weight, float eps);

// sum = x + branch; normed = rms_norm(sum): one pass over memory where a residual connection meets the next norm.
// `branch` is consumed: its tensor becomes `sum`.
struct ResidualNorm {
  Variable sum, normed;
};
ResidualNorm add_rms_norm(const Variable& x, const Variable& branch, Parameter& weight, float eps);

// y = (x - mean) / sqrt(variance + eps) * weight + bias, row by row (Ba et al. 2016). weight, bias [D].
Variable layer_norm(const Variable& x, Parameter& weight, Parameter& bias, float eps);

// y = x / max(|x|, eps), row by row.
Variable l2_normalize(const Variable& x, float eps = 1e-12F);

}  // namespace skymm
