// Kernels that work row by row: how rows are dealt to threads, and sums over a row in a fixed order.
#pragma once

#include <type_traits>

#include "ops/kernels/cuda/launch.hpp"

namespace skymm::cuda {

inline constexpr int row_block = 128;  // threads of a block

// Rows up to this width are a warp's, so that a block takes four of them; wider ones are a block's each.
inline constexpr std::int64_t widest_of_warp = 1024;

// f(std::integral_constant<int, threads a row>{})
template <class F>
void visit_row_threads(std::int64_t width, F&& f) {
  width <= widest_of_warp ? f(std::integral_constant<int, warp_size>{}) : f(std::integral_constant<int, row_block>{});
}

template <int threads>
unsigned row_blocks(std::int64_t rows) {
  return blocks_for(rows, row_block / threads);
}

// The row of this thread. Past the last one for some warps where a warp has a row; never where a block has one.
template <int threads>
__device__ __forceinline__ std::int64_t row_of_thread() {
  return static_cast<std::int64_t>(blockIdx.x) * (row_block / threads) + threadIdx.x / threads;
}
template <int threads>
__device__ __forceinline__ int index_in_row() {
  return static_cast<int>(threadIdx.x % threads);
}

// combine() over the values of the threads of a row, for all of them; every thread of the row takes part.
template <int threads, class T, class Combine>
__device__ __forceinline__ T reduce_row(T value, Combine combine) {
#pragma unroll
  for (int lanes = warp_size / 2; lanes > 0; lanes /= 2) {
    value = combine(value, __shfl_xor_sync(whole_warp, value, lanes));
  }
  if constexpr (threads > warp_size) {
    SKYMM_SHARED_ARRAY(T, of_warp, threads / warp_size);
    __syncthreads();  // the last reduction has been read
    if (threadIdx.x % warp_size == 0) of_warp[threadIdx.x / warp_size] = value;
    __syncthreads();
    value = of_warp[0];
#pragma unroll
    for (int i = 1; i < threads / warp_size; ++i) value = combine(value, of_warp[i]);
  }
  return value;
}
template <int threads, class T>
__device__ __forceinline__ T row_sum(T value) {
  return reduce_row<threads>(value, [](T a, T b) { return a + b; });
}
template <int threads>
__device__ __forceinline__ float row_max(float value) {  // of what is not NaN
  return reduce_row<threads>(value, [](float a, float b) { return fmaxf(a, b); });
}

// ---- chunks of a row: 16 bytes of T, as floats ---------------------------------------------------------------------

// Whether whole chunks of every row start at multiples of 16 bytes.
template <class T>
bool vectors_fit(const DeviceRows<T>& rows) {
  return is_aligned(rows.data) && rows.stride % vector_width<T> == 0;
}

// Elements column to column + vector_width of a row `width` wide; zeros past its end.
template <class T>
__device__ __forceinline__ void load_chunk(const T* row, int column, int width, bool vectors,
                                           float (&to)[vector_width<T>]) {
  if (vectors && column + vector_width<T> <= width) {
    load_floats(row + column, to);
    return;
  }
#pragma unroll
  for (int i = 0; i < vector_width<T>; ++i) to[i] = column + i < width ? to_float(row[column + i]) : 0.0F;
}
template <class T>
__device__ __forceinline__ void store_chunk(T* row, int column, int width, bool vectors,
                                            const float (&from)[vector_width<T>]) {
  if (vectors && column + vector_width<T> <= width) {
    store_floats(row + column, from);
    return;
  }
#pragma unroll
  for (int i = 0; i < vector_width<T>; ++i) {
    if (column + i < width) row[column + i] = from_float<T>(from[i]);
  }
}

// f(column) for the chunks of a row that are this thread's.
template <class T, int threads, class F>
__device__ __forceinline__ void each_chunk(int width, F f) {
  constexpr int step = vector_width<T>;
  for (int column = index_in_row<threads>() * step; column < width; column += threads * step) f(column);
}

// A sum of f(column, i) over the elements column + i of the row, over all its threads.
template <class T, int threads, class F>
__device__ __forceinline__ float sum_chunks(int width, F f) {
  float sum = 0;
  each_chunk<T, threads>(width, [&](int column) { sum += f(column); });
  return row_sum<threads>(sum);
}

}  // namespace skymm::cuda
