// What becomes of a product's sums: scaled, biased, activated, added to what is there, rounded, stored.
#pragma once

#include <cstdint>

#include "ops/kernels/cuda/activation.hpp"
#include "ops/kernels/cuda/primitives.hpp"
#include "ops/kernels/matrix.hpp"

namespace skymm::cuda {

struct Output {
  void* data;
  std::int64_t rows, columns, row_step, batch_step;
  const void* bias;  // [columns] or null
  float alpha;
  Activation activation;
  bool is_bf16, bias_is_bf16, accumulate;
  bool paired;  // elements at even columns are aligned for two

  Output(const Matrix& c, const Epilogue& e)
      : data(c.data),
        rows(c.rows),
        columns(c.cols),
        row_step(c.row_step),
        batch_step(c.batch_step),
        bias(e.bias),
        alpha(e.alpha),
        activation(e.activation),
        is_bf16(c.dtype == DType::bf16),
        bias_is_bf16(e.bias_dtype == DType::bf16),
        accumulate(e.accumulate),
        paired(reinterpret_cast<std::uintptr_t>(c.data) % (2 * size_of(c.dtype)) == 0 && c.row_step % 2 == 0 &&
               c.batch_step % 2 == 0) {}

  __device__ float finished(float sum, std::int64_t at, std::int64_t column) const {
    float value = alpha * sum;
    if (bias != nullptr) {
      value +=
          bias_is_bf16 ? to_float(static_cast<const bf16*>(bias)[column]) : static_cast<const float*>(bias)[column];
    }
    value = activate(activation, value);
    if (accumulate) value += is_bf16 ? to_float(static_cast<bf16*>(data)[at]) : static_cast<float*>(data)[at];
    return value;
  }

  __device__ void store(std::int64_t batch, std::int64_t row, std::int64_t column, float sum) const {
    if (row >= rows || column >= columns) return;
    const std::int64_t at = batch * batch_step + row * row_step + column;
    const float value = finished(sum, at, column);
    if (is_bf16) {
      static_cast<bf16*>(data)[at] = from_float<bf16>(value);
    } else {
      static_cast<float*>(data)[at] = value;
    }
  }

  // The sums of an even column and the next.
  __device__ void store_pair(std::int64_t batch, std::int64_t row, std::int64_t column, float sum, float next) const {
    if (!paired || column + 1 >= columns) {
      store(batch, row, column, sum);
      store(batch, row, column + 1, next);
      return;
    }
    if (row >= rows) return;
    const std::int64_t at = batch * batch_step + row * row_step + column;
    const float value = finished(sum, at, column), second = finished(next, at + 1, column + 1);
    if (is_bf16) {
      store_vector(static_cast<bf16*>(data) + at, pack_bf16(value, second));
    } else {
      store_vector(static_cast<float*>(data) + at, make_float2(value, second));
    }
  }
};

// Stores Rows x Columns sums that lie in shared memory. Row r of them is the row `row + r row_step` of the output.
// Going through shared memory makes neighbours in a row those of neighbouring threads, and keeps the code of the
// epilogue short.
template <int Rows, int Columns, int Threads>
__device__ __forceinline__ void store_rows(const float* sums, int pitch, std::int64_t row, int row_step,
                                           std::int64_t column, const Output& out) {
#pragma unroll 1
  for (int i = threadIdx.x; i < Rows * Columns / 2; i += Threads) {
    const int r = i / (Columns / 2), c = i % (Columns / 2) * 2;
    const float2 pair = load_vector<float2>(sums + r * pitch + c);
    out.store_pair(blockIdx.z, row + r * row_step, column + c, pair.x, pair.y);
  }
}

}  // namespace skymm::cuda
