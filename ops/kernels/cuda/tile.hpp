// Tiles of bf16 in shared memory, and their fragments in the registers of a warp: what the tensor-core kernels are made
// of. The lanes' shares of a fragment are those of mma.m16n8k16 and ldmatrix (PTX ISA, "Matrix fragments for
// mma.m16n8k16", "ldmatrix").
#pragma once

#include <cstdint>

#include "ops/kernels/cuda/primitives.hpp"

namespace skymm::cuda {

// bf16 elements in 16 bytes: what a cp.async copies, and a row of one of ldmatrix's matrices.
inline constexpr int chunk = vector_width<bf16>;

// Rows x Columns in shared memory. A row is a chunk longer than its columns, so an odd number of chunks: the eight rows
// that ldmatrix reads at once then lie in different banks.
template <int Rows, int Columns>
struct Tile {
  static_assert(Columns % 16 == 0);
  static constexpr int rows = Rows, columns = Columns, pitch = Columns + chunk, elements = Rows * pitch;
  bf16* data;

  __device__ bf16* at(int row, int column) const { return data + row * pitch + column; }
};

// Copies the first `valid` of a chunk from global memory and zeros the rest (all of it where valid <= 0). Asynchronous
// (cp.async) where `aligned` says that whole chunks may be read at once.
__device__ __forceinline__ void copy_chunk(bf16* to, const bf16* from, std::int64_t valid, bool aligned) {
  if (aligned && (valid >= chunk || valid <= 0)) {
    cp_async16(to, from, valid > 0);
    return;
  }
#pragma unroll 1
  for (int i = 0; i < chunk; ++i) to[i] = i < valid ? from[i] : from_float<bf16>(0.0F);
}

// The left operand of an mma: 16 rows and 16 of k. The tile holds [row][k] or, transposed, [k][row].
template <bool Transposed, class T>
__device__ __forceinline__ void load_left(unsigned (&a)[4], const T& tile, int row, int k) {
  const int matrix = threadIdx.x % 32 / 8, i = threadIdx.x % 8;
  if constexpr (Transposed) {
    ldmatrix_x4_trans(a, tile.at(k + matrix / 2 * 8 + i, row + matrix % 2 * 8));
  } else {
    ldmatrix_x4(a, tile.at(row + matrix % 2 * 8 + i, k + matrix / 2 * 8));
  }
}

// The right operands of two mma: 16 of k and the columns [column, column + 8) in b[0] and b[1], the next eight in b[2]
// and b[3]. The tile holds [column][k] or, transposed, [k][column].
template <bool Transposed, class T>
__device__ __forceinline__ void load_right(unsigned (&b)[4], const T& tile, int column, int k) {
  const int matrix = threadIdx.x % 32 / 8, i = threadIdx.x % 8;
  if constexpr (Transposed) {
    ldmatrix_x4_trans(b, tile.at(k + matrix % 2 * 8 + i, column + matrix / 2 * 8));
  } else {
    ldmatrix_x4(b, tile.at(column + matrix / 2 * 8 + i, k + matrix % 2 * 8));
  }
}

// Where a lane's four results of an mma lie in its 16 x 8 block: element e is [row(e)][column(e)].
struct ResultPlace {
  int row0 = threadIdx.x % 32 / 4, column0 = threadIdx.x % 4 * 2;

  __device__ int row(int e) const { return row0 + e / 2 * 8; }
  __device__ int column(int e) const { return column0 + e % 2; }
};

// Two blocks of results, side by side, as the left operand of the next mma: lanes hold the same elements of both.
__device__ __forceinline__ void as_left(unsigned (&a)[4], const float (&first)[4], const float (&second)[4]) {
  a[0] = pack_bf16(first[0], first[1]);
  a[1] = pack_bf16(first[2], first[3]);
  a[2] = pack_bf16(second[0], second[1]);
  a[3] = pack_bf16(second[2], second[3]);
}

}  // namespace skymm::cuda
