// Products of a few rows of activations with a whole weight, as generation needs them. Memory's bandwidth is their
// bound: each weight is read once, by each thread a piece in the order that it lies, and widened on the way; sums are
// in f32.
#pragma once

#include <algorithm>

#include "ops/kernels/cpu/arguments.hpp"
#include "ops/kernels/cpu/panel_product.hpp"

namespace skymm {

inline constexpr std::int64_t most_few_rows = 8;

// Rows of activations in f32, each `step` values, an even number: as many as columns, or one more that is zero. They
// lie as they are, or split: the even columns first, and the odd ones from step / 2 on.
struct WideRows {
  const float* values;
  std::int64_t count, step;
};
WideRows widen_few(const Matrix& x, bool split);  // in memory of this thread, until the next call

// For parallel_pieces: the cost of `elements` of a weight by `count` rows.
inline std::int64_t few_cost(std::int64_t count, std::int64_t elements) { return count * elements / 8 + 1; }

// y by the weight's rows, of `columns` elements: product(row, rows, sums) makes sums[m rows + r], the product of row m
// of activations and row `row` + r of the weight.
template <class F>
void multiply_few_rows(const Matrix& y, std::int64_t columns, const Epilogue& e, const F& product) {
  constexpr std::int64_t unit = 16, most_rows = 64;
  parallel_pieces((y.cols + unit - 1) / unit, few_cost(y.rows, unit * columns), [&](std::int64_t i, std::int64_t end) {
    float sums[most_few_rows * most_rows];
    end = std::min(y.cols, end * unit);
    for (std::int64_t row = i * unit; row < end; row += most_rows) {
      const std::int64_t rows = std::min(most_rows, end - row);
      product(row, rows, sums);
      finish_product(sums, y.cols_of(row, row + rows), columns_of(e, row));
    }
  });
}

// y = activation(x W^T + bias) (+ y) for at most most_few_rows rows of x, f32 or bf16. W [n, k] bf16 or f32, the
// elements of a row adjacent; or packed as W^T [k, n], with has_pairs().
void multiply_few(const Matrix& x, const Matrix& weight, const Matrix& y, const Epilogue& epilogue);
void multiply_few(const Matrix& x, const PackedMatrix& weight, const Matrix& y, const Epilogue& epilogue);

}  // namespace skymm
