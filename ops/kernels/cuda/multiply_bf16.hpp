// The tensor-core product c = a b of bf16 operands with sums in f32, for any source of the right operand: rows in
// memory (gemm.cu) or codes that are dequantised on the way (quantised.cu).
//
// A block of threads makes a tile of c. It goes along k in steps; the tiles of the next steps are on their way
// (cp.async) into a ring of stages while tensor cores work on the present one. Each warp holds a part of the tile of c
// in registers. A tile in shared memory keeps the order of memory; ldmatrix transposes on the way to registers, so that
// any transposition of a and b costs the same.
#pragma once

#include "ops/kernels/cuda/output.hpp"
#include "ops/kernels/cuda/tile.hpp"

namespace skymm::cuda {

// M x N of c a block, K of the sum a step, warps down and across the tile. A thread takes no more registers than leave
// room for so many blocks on a multiprocessor, unless the right operand is crowded.
template <int M, int N, int K, int WarpsDown, int WarpsAcross, int Stages, int Blocks>
struct ProductShape {
  static constexpr int m = M, n = N, k = K, warps_across = WarpsAcross, stages = Stages, blocks = Blocks;
  static constexpr int threads = 32 * WarpsDown * WarpsAcross;
  static constexpr int warp_m = M / WarpsDown, warp_n = N / WarpsAcross;
  static_assert(warp_m % 16 == 0 && warp_n % 16 == 0 && K % 16 == 0);
};
using LargeProduct = ProductShape<128, 128, 32, 2, 4, 4, 2>;
using SmallProduct = ProductShape<64, 64, 32, 2, 2, 4, 4>;  // fills the device where c is small
using FlatProduct = ProductShape<16, 64, 64, 1, 4, 4, 4>;   // few rows: reading the right operand is all the work

// A right or left operand in memory: rows of adjacent elements, whatever they are in the product.
struct PlainRows {
  const bf16* data;
  std::int64_t rows, columns, step, batch_step;
  bool aligned;  // every chunk is

  struct Held {};  // nothing waits in registers
  static constexpr bool crowded_transposed = false;

  __device__ void begin() const {}
  __device__ void fetch(Held&, bf16* to, std::int64_t row, std::int64_t column) const {
    const std::int64_t valid = row < rows ? columns - column : 0;
    copy_chunk(to, valid > 0 ? data + blockIdx.z * batch_step + row * step + column : data, valid, aligned);
  }
  __device__ void finish(const Held&, bf16*, std::int64_t, std::int64_t) const {}
};

// Each thread's chunks of a tile whose first element is (row, column) of the source.
template <int Threads, class T, class F>
__device__ __forceinline__ void each_chunk(const T& tile, std::int64_t row, std::int64_t column, const F& f) {
  constexpr int across = T::columns / chunk;
  static_assert(T::rows * across % Threads == 0);
#pragma unroll
  for (int i = 0; i < T::rows * across / Threads; ++i) {
    const int place = i * Threads + threadIdx.x, r = place / across, c = place % across * chunk;
    f(i, tile.at(r, c), row + r, column + c);
  }
}

// The tile of c that this block makes. Blocks go down in bands of eight tiles before they go across: those that run at
// one time then share the operands in the second-level cache.
template <class S>
struct TilePlace {
  std::int64_t row, column;

  __device__ explicit TilePlace(const Output& out) {
    constexpr std::int64_t band = 8;
    const std::int64_t down = (out.rows + S::m - 1) / S::m, across = (out.columns + S::n - 1) / S::n;
    const std::int64_t first = blockIdx.x / (band * across) * band, height = min(band, down - first);
    const std::int64_t in_band = blockIdx.x % (band * across);
    row = (first + in_band % height) * S::m;
    column = in_band / height * S::n;
  }
};

template <class S>
using Sums = float[S::warp_m / 16][S::warp_n / 8][4];

// sums += the product of one step's tiles, for this warp's part.
template <class S, bool LeftTransposed, bool RightTransposed, class Left, class Right>
__device__ __forceinline__ void multiply_step(Sums<S>& sums, const Left& left, const Right& right) {
  const int warp = threadIdx.x / 32;
  const int row = warp / S::warps_across * S::warp_m, column = warp % S::warps_across * S::warp_n;
#pragma unroll
  for (int k = 0; k < S::k; k += 16) {
    unsigned a[S::warp_m / 16][4];
#pragma unroll
    for (int i = 0; i < S::warp_m / 16; ++i) load_left<LeftTransposed>(a[i], left, row + i * 16, k);
#pragma unroll
    for (int j = 0; j < S::warp_n / 8; j += 2) {
      unsigned b[4];
      load_right<RightTransposed>(b, right, column + j * 8, k);
#pragma unroll
      for (int i = 0; i < S::warp_m / 16; ++i) {
        mma_m16n8k16(sums[i][j], a[i], b[0], b[1]);
        mma_m16n8k16(sums[i][j + 1], a[i], b[2], b[3]);
      }
    }
  }
}

// The tile of c, by way of shared memory that nobody reads any more.
template <class S>
__device__ __forceinline__ void store_sums(const Sums<S>& sums, const TilePlace<S>& place, const Output& out,
                                           float* shared) {
  constexpr int pitch = S::n + 8;
  const int warp = threadIdx.x / 32;
  const int row = warp / S::warps_across * S::warp_m, column = warp % S::warps_across * S::warp_n;
  const ResultPlace lane;
#pragma unroll
  for (int i = 0; i < S::warp_m / 16; ++i) {
#pragma unroll
    for (int j = 0; j < S::warp_n / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; e += 2) {
        float* const to = shared + (row + i * 16 + lane.row(e)) * pitch + column + j * 8 + lane.column(e);
        store_vector(to, make_float2(sums[i][j][e], sums[i][j][e + 1]));
      }
    }
  }
  __syncthreads();
  store_rows<S::m, S::n, S::threads>(shared, pitch, place.row, 1, place.column, out);
}

// left [m, k], or its transpose in memory; right [n, k] in memory or, transposed, [k, n].
template <class S, bool LeftTransposed, bool RightTransposed, class RightSource>
__global__ void __launch_bounds__(S::threads, (RightTransposed && RightSource::crowded_transposed) ? 1 : S::blocks)
    multiply_bf16(PlainRows left, RightSource right, std::int64_t depth, Output out) {
  using Left = Tile<LeftTransposed ? S::k : S::m, LeftTransposed ? S::m : S::k>;
  using Right = Tile<RightTransposed ? S::k : S::n, RightTransposed ? S::n : S::k>;
  SKYMM_DYNAMIC_SHARED(shared);
  const auto left_tile = [&](int step) {
    return Left{reinterpret_cast<bf16*>(shared) + step % S::stages * (Left::elements + Right::elements)};
  };
  const auto right_tile = [&](int step) { return Right{left_tile(step).data + Left::elements}; };

  const TilePlace<S> place(out);
  const int steps = static_cast<int>((depth + S::k - 1) / S::k);
  typename RightSource::Held held[Right::rows * Right::columns / chunk / S::threads];
  const auto each_right = [&](int step, const auto& f) {
    const std::int64_t k = static_cast<std::int64_t>(step) * S::k;
    each_chunk<S::threads>(right_tile(step), RightTransposed ? k : place.column, RightTransposed ? place.column : k, f);
  };
  const auto fetch = [&](int step) {
    const std::int64_t k = static_cast<std::int64_t>(step) * S::k;
    PlainRows::Held none;
    each_chunk<S::threads>(left_tile(step), LeftTransposed ? k : place.row, LeftTransposed ? place.row : k,
                           [&](int, bf16* to, std::int64_t r, std::int64_t c) { left.fetch(none, to, r, c); });
    each_right(step, [&](int i, bf16* to, std::int64_t r, std::int64_t c) { right.fetch(held[i], to, r, c); });
  };
  const auto finish = [&](int step) {
    each_right(step, [&](int i, bf16* to, std::int64_t r, std::int64_t c) { right.finish(held[i], to, r, c); });
  };

  right.begin();
  for (int step = 0; step < S::stages - 1; ++step) {
    if (step < steps) {
      fetch(step);
      finish(step);
    }
    cp_async_commit();
  }
  Sums<S> sums = {};
  for (int step = 0; step < steps; ++step) {
    cp_async_wait<S::stages - 2>();
    __syncthreads();  // this step's tiles are here, and no warp reads the stage that is filled next
    const int ahead = step + S::stages - 1;
    if (ahead < steps) fetch(ahead);
    cp_async_commit();
    multiply_step<S, LeftTransposed, RightTransposed>(sums, left_tile(step), right_tile(step));
    if (ahead < steps) finish(ahead);
  }
  __syncthreads();  // no warp reads a stage any more
  store_sums<S>(sums, place, out, reinterpret_cast<float*>(shared));
}

template <class S, bool LeftTransposed, bool RightTransposed>
constexpr int shared_bytes() {
  using Left = Tile<LeftTransposed ? S::k : S::m, LeftTransposed ? S::m : S::k>;
  using Right = Tile<RightTransposed ? S::k : S::n, RightTransposed ? S::n : S::k>;
  const int stages = S::stages * (Left::elements + Right::elements) * static_cast<int>(sizeof(bf16));
  const int sums = S::m * (S::n + 8) * static_cast<int>(sizeof(float));
  return stages > sums ? stages : sums;
}

}  // namespace skymm::cuda
