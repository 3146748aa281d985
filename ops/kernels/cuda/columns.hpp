// Sums down the columns, for gradients of parameters: always in one order, whatever the device.
#pragma once

#include <algorithm>

#include "ops/kernels/cuda/launch.hpp"

namespace skymm::cuda {

inline constexpr int column_tile = 32;         // columns of a block, one a lane
inline constexpr int column_lanes = 8;         // rows at once
inline constexpr int most_column_parts = 64;   // blocks down the rows
inline constexpr int least_rows_of_part = 64;  // below, one block does it

// partial[part][column] = the sum of term(row, column) over the rows of the part; parts are blockIdx.y.
template <class Term>
__global__ void __launch_bounds__(column_tile* column_lanes)
    column_parts_kernel(Term term, std::int64_t rows, std::int64_t rows_of_part, int width, float* partial) {
  SKYMM_SHARED_ARRAY(float, sums, column_tile* column_lanes);
  const int lane = static_cast<int>(threadIdx.x) % column_tile, first = static_cast<int>(threadIdx.x) / column_tile;
  const int column = static_cast<int>(blockIdx.x) * column_tile + lane;
  const std::int64_t begin = blockIdx.y * rows_of_part, end = min(rows, begin + rows_of_part);
  float sum = 0;
  if (column < width) {
    for (std::int64_t row = begin + first; row < end; row += column_lanes) sum += term(row, column);
  }
  sums[threadIdx.x] = sum;
  __syncthreads();
  if (first != 0 || column >= width) return;
  for (int i = 1; i < column_lanes; ++i) sum += sums[i * column_tile + lane];
  partial[static_cast<std::int64_t>(blockIdx.y) * width + column] = sum;
}

__global__ void add_column_parts_kernel(const float* partial, int parts, int width, float* to);

// to [width] f32 += the sum of term(row, column) over all rows. term: float operator()(int64 row, int column), for the
// device.
template <class Term>
void add_column_sums(const Term& term, std::int64_t rows, std::int64_t width, const Tensor& to) {
  if (rows == 0 || width == 0) return;
  const std::int64_t parts = std::clamp<std::int64_t>(rows / least_rows_of_part, 1, most_column_parts);
  const std::int64_t rows_of_part = (rows + parts - 1) / parts;
  const PurposeScope purpose(Purpose::workspace);
  const Tensor partial = Tensor::empty({parts, width}, DType::f32, to.device());
  launch(column_parts_kernel<Term>, dim3(blocks_for(width, column_tile), static_cast<unsigned>(parts)),
         column_tile * column_lanes, 0, stream_of(to), term, rows, rows_of_part, static_cast<int>(width),
         pointer<float>(partial));
  launch(add_column_parts_kernel, blocks_for(width, column_lanes * column_tile), column_lanes * column_tile, 0,
         stream_of(to), pointer<float>(partial), static_cast<int>(parts), static_cast<int>(width), pointer<float>(to));
}

}  // namespace skymm::cuda
