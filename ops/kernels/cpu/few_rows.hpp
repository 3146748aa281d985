// Products of a few rows of activations with a whole weight, as generation needs them. Memory's bandwidth is their
// bound: each weight is read once, in the order that it lies, and widened on the way; sums are in f32.
#pragma once

#include "ops/kernels/cpu/matmul.hpp"

namespace skymm {

inline constexpr std::int64_t most_few_rows = 8;

// Rows of activations in f32, each `step` values, an even number: as many as columns, or one more that is zero.
struct WideRows {
  const float* values;
  std::int64_t count, step;
};

// y = activation(x W^T + bias) (+ y) for at most most_few_rows rows of x, f32 or bf16. W [n, k] bf16 or f32, the
// elements of a row adjacent; or packed as W^T [k, n], with has_pairs().
void multiply_few(const Matrix& x, const Matrix& weight, const Matrix& y, const Epilogue& epilogue);
void multiply_few(const Matrix& x, const PackedMatrix& weight, const Matrix& y, const Epilogue& epilogue);

}  // namespace skymm
