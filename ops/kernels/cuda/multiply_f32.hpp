// The product c = a b of f32 operands without tensor cores, whose TF32 would round them: fused multiply-adds in f32,
// for any source of the right operand. A block of 256 threads makes a tile of c, M / 16 x N / 16 of it each thread in
// registers; the next step's elements wait in registers while this one's are multiplied from shared memory.
#pragma once

#include "ops/kernels/cuda/output.hpp"

namespace skymm::cuda {

template <int M, int N, int K>
struct ScalarShape {
  static constexpr int m = M, n = N, k = K, threads = 256;
  static_assert(M % 64 == 0 && N % 64 == 0 && M * K % threads == 0 && N * K % threads == 0);
};
using LargeScalar = ScalarShape<128, 128, 8>;
using SmallScalar = ScalarShape<64, 64, 16>;

// An operand in memory, seen as [outer, k]: rows of a, columns of b.
struct PlainElements {
  const float* data;
  std::int64_t outer_count, k_count, outer_step, k_step, batch_step;

  __device__ void begin() const {}
  __device__ float at(std::int64_t outer, std::int64_t k) const {
    if (outer >= outer_count || k >= k_count) return 0.0F;
    return data[blockIdx.z * batch_step + outer * outer_step + k * k_step];
  }
  __device__ bool k_adjacent() const { return k_step == 1; }
};

// [k][outer] in shared memory, and the elements of it that a thread brings there: neighbours in memory for neighbouring
// threads.
template <int Outer, int K, int Threads>
struct ScalarTile {
  static_assert(Threads % Outer == 0 && Threads % K == 0);
  static constexpr int pitch = Outer + 4, elements = K * pitch, each = Outer * K / Threads;
  float* data;

  // A thread's elements: the first, and the way from each to the next.
  struct Places {
    int outer, k, outer_step, k_step;
    __device__ explicit Places(bool k_adjacent)
        : outer(k_adjacent ? threadIdx.x / K : threadIdx.x % Outer),
          k(k_adjacent ? threadIdx.x % K : threadIdx.x / Outer),
          outer_step(k_adjacent ? Threads / K : 0),
          k_step(k_adjacent ? 0 : Threads / Outer) {}
  };

  template <class Source>
  __device__ static void fetch(float (&held)[each], const Source& source, const Places& places, std::int64_t outer,
                               std::int64_t k) {
#pragma unroll
    for (int i = 0; i < each; ++i) {
      held[i] = source.at(outer + places.outer + i * places.outer_step, k + places.k + i * places.k_step);
    }
  }
  __device__ void store(const float (&held)[each], const Places& places) const {
#pragma unroll
    for (int i = 0; i < each; ++i) {
      data[(places.k + i * places.k_step) * pitch + places.outer + i * places.outer_step] = held[i];
    }
  }
  // Four of a row, at a multiple of four.
  __device__ void read(float* to, int k, int outer) const {
    const float4 x = load_vector<float4>(data + k * pitch + outer);
    to[0] = x.x, to[1] = x.y, to[2] = x.z, to[3] = x.w;
  }
};

// sums += the product of one step. A thread's rows and columns come in groups of four, 64 apart.
template <class S, class Left, class Right>
__device__ __forceinline__ void multiply_scalars(float (&sums)[S::m / 16][S::n / 16], const Left& left,
                                                 const Right& right) {
  const int down = threadIdx.x / 16 * 4, across = threadIdx.x % 16 * 4;
#pragma unroll 2
  for (int k = 0; k < S::k; ++k) {
    float a[S::m / 16], b[S::n / 16];
#pragma unroll
    for (int i = 0; i < S::m / 16; i += 4) left.read(a + i, k, down + i * 16);
#pragma unroll
    for (int j = 0; j < S::n / 16; j += 4) right.read(b + j, k, across + j * 16);
#pragma unroll
    for (int i = 0; i < S::m / 16; ++i) {
#pragma unroll
      for (int j = 0; j < S::n / 16; ++j) sums[i][j] = fmaf(a[i], b[j], sums[i][j]);
    }
  }
}

// left as [m, k], right as [n, k].
template <class S, class RightSource>
__global__ void __launch_bounds__(S::threads, 2)
    multiply_f32(PlainElements left, RightSource right, std::int64_t depth, Output out) {
  using Left = ScalarTile<S::m, S::k, S::threads>;
  using Right = ScalarTile<S::n, S::k, S::threads>;
  SKYMM_SHARED_ARRAY(float, shared, 2 * (Left::elements + Right::elements));
  const auto left_tile = [&](int step) { return Left{shared + step % 2 * (Left::elements + Right::elements)}; };
  const auto right_tile = [&](int step) { return Right{left_tile(step).data + Left::elements}; };

  const std::int64_t down = (out.rows + S::m - 1) / S::m;
  const std::int64_t row = blockIdx.x % down * S::m, column = blockIdx.x / down * S::n;
  const int steps = static_cast<int>((depth + S::k - 1) / S::k);
  const typename Left::Places left_places(left.k_adjacent());
  const typename Right::Places right_places(right.k_adjacent());
  float held_left[Left::each], held_right[Right::each];
  const auto fetch = [&](int step) {
    Left::fetch(held_left, left, left_places, row, static_cast<std::int64_t>(step) * S::k);
    Right::fetch(held_right, right, right_places, column, static_cast<std::int64_t>(step) * S::k);
  };
  const auto store = [&](int step) {
    left_tile(step).store(held_left, left_places);
    right_tile(step).store(held_right, right_places);
  };

  right.begin();
  float sums[S::m / 16][S::n / 16] = {};
  if (steps > 0) {
    fetch(0);
    store(0);
  }
  for (int step = 0; step < steps; ++step) {
    __syncthreads();  // this step's tiles are whole, and nobody reads the others any more
    if (step + 1 < steps) fetch(step + 1);
    multiply_scalars<S>(sums, left_tile(step), right_tile(step));
    if (step + 1 < steps) store(step + 1);
  }
#pragma unroll
  for (int i = 0; i < S::m / 16; ++i) {  // sixteen rows at a time
    constexpr int pitch = S::n + 4;
    static_assert(16 * pitch <= 2 * (Left::elements + Right::elements));
    __syncthreads();  // nobody reads the tiles, or the rows before these, any more
#pragma unroll
    for (int j = 0; j < S::n / 16; ++j) {
      shared[threadIdx.x / 16 * pitch + threadIdx.x % 16 * 4 + j / 4 * 64 + j % 4] = sums[i][j];
    }
    __syncthreads();
    store_rows<16, S::n, S::threads>(shared, pitch, row + i / 4 * 64 + i % 4, 4, column, out);
  }
}

}  // namespace skymm::cuda
