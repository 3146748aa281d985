// What the attention kernels share: which queries and keys a block of threads works on, and their way into tiles.
#pragma once

#include "ops/kernels/cuda/attention.hpp"
#include "ops/kernels/cuda/tile.hpp"

namespace skymm::cuda {

inline constexpr float log2_e = 1.44269504F, ln_2 = 0.69314718F;
inline constexpr float infinity = __builtin_huge_valf();

// One sequence and one key head. A row is a query and one of the query heads that share the key head: row = query group
// + head in the group; so keys are read once for all of them.
struct AttentionBlock {
  int first_query, queries, first_key, keys, group, kv_head, rows;
  bool causal;

  __device__ AttentionBlock(const AttentionArguments& a, int sequence, int kv_head_)
      : first_query(a.query_offsets[sequence]),
        queries(a.query_offsets[sequence + 1] - first_query),
        first_key(a.key_offsets[sequence]),
        keys(a.key_lengths != nullptr ? a.key_lengths[sequence] : a.key_offsets[sequence + 1] - first_key),
        group(static_cast<int>(a.problem.group)),
        kv_head(kv_head_),
        rows(queries * group),
        causal(a.problem.causal) {}

  // How many keys the row sees: the first ones. None beyond the last row. Ascending in the row, up to the last.
  __device__ int seen(int row) const {
    if (row >= rows) return 0;
    return causal ? max(0, min(keys, row / group + 1 + keys - queries)) : keys;
  }
  // The first row that sees the key.
  __device__ int first_row_that_sees(int key) const { return causal ? max(0, key + queries - keys) * group : 0; }

  __device__ std::int64_t query_at(const Heads& x, int row) const {
    return (first_query + row / group) * x.token_step + (kv_head * group + row % group) * x.head_step;
  }
  __device__ std::int64_t key_at(const Heads& x, int key) const {
    return (first_key + key) * x.token_step + kv_head * x.head_step;
  }
  // Of a f32 [queries, heads] by two steps.
  __device__ std::int64_t statistic_at(std::int64_t token_step, std::int64_t head_step, int row) const {
    return (first_query + row / group) * token_step + (kv_head * group + row % group) * head_step;
  }
};

// What the gradient needs of a row.
__device__ __forceinline__ float logsumexp_of(const AttentionArguments& a, const AttentionBlock& block, int row) {
  if (row >= block.rows) return 0.0F;
  const AttentionProblem& p = a.problem;
  return p.logsumexp[block.statistic_at(p.logsumexp_token_step, p.logsumexp_head_step, row)];
}
__device__ __forceinline__ float delta_of(const AttentionArguments& a, const AttentionBlock& block, const float* delta,
                                          int row) {
  if (row >= block.rows) return 0.0F;
  return delta[block.statistic_at(a.kv_heads * block.group, 1, row)];
}

__device__ __forceinline__ bool chunks_aligned(const Heads& x) {
  return is_aligned(x.data) && x.token_step % chunk == 0 && x.head_step % chunk == 0;
}

// tile[i] = the `width` elements at at(first + i), zeros beyond them and from the row `count` on.
template <int Threads, class T, class At>
__device__ __forceinline__ void load_tile(const T& tile, const Heads& x, const At& at, int first, int count,
                                          int width) {
  constexpr int across = T::columns / chunk;
  static_assert(T::rows * across % Threads == 0);
  const auto* const data = static_cast<const bf16*>(x.data);
  const bool aligned = chunks_aligned(x);
#pragma unroll
  for (int i = 0; i < T::rows * across / Threads; ++i) {
    const int place = i * Threads + threadIdx.x, row = place / across, column = place % across * chunk;
    const int valid = first + row < count ? width - column : 0;
    copy_chunk(tile.at(row, column), valid > 0 ? data + at(first + row) + column : data, valid, aligned);
  }
}
template <int Threads, class T>
__device__ __forceinline__ void load_queries(const T& tile, const AttentionBlock& block, const Heads& x, int row,
                                             int width) {
  load_tile<Threads>(
      tile, x, [&](int r) { return block.query_at(x, r); }, row, block.rows, width);
}
template <int Threads, class T>
__device__ __forceinline__ void load_keys(const T& tile, const AttentionBlock& block, const Heads& x, int key,
                                          int width) {
  load_tile<Threads>(
      tile, x, [&](int k) { return block.key_at(x, k); }, key, block.keys, width);
}

// Two neighbours of a row of `width` elements, the first at an even column.
__device__ __forceinline__ void store_two(const Heads& x, std::int64_t row_at, int column, int width, float first,
                                          float second) {
  bf16* const to = static_cast<bf16*>(x.data) + row_at + column;
  if (column + 1 < width && reinterpret_cast<std::uintptr_t>(to) % 4 == 0) {
    store_vector(to, pack_bf16(first, second));
    return;
  }
  if (column < width) to[0] = from_float<bf16>(first);
  if (column + 1 < width) to[1] = from_float<bf16>(second);
}

// blocks += left right^T for this warp's sixteen rows of left: both tiles [.][k].
template <int Width, int Columns, class Left, class Right>
__device__ __forceinline__ void multiply_transposed(float (&blocks)[Columns / 8][4], const Left& left, int row,
                                                    const Right& right) {
#pragma unroll
  for (int k = 0; k < Width; k += 16) {
    unsigned a[4];
    load_left<false>(a, left, row, k);
#pragma unroll
    for (int j = 0; j < Columns / 8; j += 2) {
      unsigned b[4];
      load_right<false>(b, right, j * 8, k);
      mma_m16n8k16(blocks[j], a, b[0], b[1]);
      mma_m16n8k16(blocks[j + 1], a, b[2], b[3]);
    }
  }
}

// sums += p tile, where p are blocks of sixteen rows in registers, rounded to bf16: tile [k][Width].
template <int Width, int Rows, class T>
__device__ __forceinline__ void multiply_registers(float (&sums)[Width / 8][4], const float (&p)[Rows / 8][4],
                                                   const T& tile) {
#pragma unroll
  for (int k = 0; k < Rows; k += 16) {
    unsigned a[4];
    as_left(a, p[k / 8], p[k / 8 + 1]);
#pragma unroll
    for (int j = 0; j < Width / 8; j += 2) {
      unsigned b[4];
      load_right<true>(b, tile, j * 8, k);
      mma_m16n8k16(sums[j], a, b[0], b[1]);
      mma_m16n8k16(sums[j + 1], a, b[2], b[3]);
    }
  }
}

}  // namespace skymm::cuda
