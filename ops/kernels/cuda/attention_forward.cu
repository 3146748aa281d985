// Attention of bf16 by tensor cores: sixteen rows a warp, whose scores, weights and sums stay in registers.
#include "ops/kernels/cuda/attention_block.hpp"
#include "ops/kernels/cuda/attention_launch.hpp"

namespace skymm::cuda {
namespace {

template <int Width>
struct ForwardShape {
  static constexpr int rows = tensor_core_rows, keys = tensor_core_keys, threads = 128;
  using Queries = Tile<rows, Width>;
  using Keys = Tile<keys, Width>;
  static constexpr int shared_bytes = (Queries::elements + 2 * Keys::elements) * static_cast<int>(sizeof(bf16));
};

// Two of a warp's rows, lane / 4 and that plus 8: the four lanes that share them hold the same maximum, and each its
// part of the sum.
struct OnlineSoftmax {
  float maximum[2] = {-infinity, -infinity};  // of scale log2(e) scores
  float sum[2] = {0, 0};

  // scores -> weights by the new maximum; returns what sums by the old one are to be multiplied by. Row h sees the keys
  // [0, seen[h]) of the block's.
  template <int Keys>
  __device__ void update(float (&scores)[Keys / 8][4], float scale, const int (&seen)[2], float (&factor)[2]) {
    const ResultPlace lane;
    float next[2] = {maximum[0], maximum[1]};
#pragma unroll
    for (int j = 0; j < Keys / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        scores[j][e] = j * 8 + lane.column(e) < seen[e / 2] ? scores[j][e] * scale : -infinity;
        next[e / 2] = fmaxf(next[e / 2], scores[j][e]);
      }
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      next[h] = fmaxf(next[h], __shfl_xor_sync(whole_warp, next[h], 1));
      next[h] = fmaxf(next[h], __shfl_xor_sync(whole_warp, next[h], 2));
      const float base = next[h] == -infinity ? 0.0F : next[h];  // a row that sees no key as yet has no weights
      factor[h] = exp2f(maximum[h] - base);
      maximum[h] = next[h];
      sum[h] *= factor[h];
    }
#pragma unroll
    for (int j = 0; j < Keys / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float base = maximum[e / 2] == -infinity ? 0.0F : maximum[e / 2];
        scores[j][e] = exp2f(scores[j][e] - base);
        sum[e / 2] += scores[j][e];
      }
    }
  }

  // Makes the sums whole.
  __device__ void finish() {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      sum[h] += __shfl_xor_sync(whole_warp, sum[h], 1);
      sum[h] += __shfl_xor_sync(whole_warp, sum[h], 2);
    }
  }
  __device__ float inverse(int h) const { return sum[h] == 0.0F ? 0.0F : 1.0F / sum[h]; }
  __device__ float logsumexp(int h) const { return sum[h] == 0.0F ? -infinity : maximum[h] * ln_2 + logf(sum[h]); }
};

__device__ __forceinline__ std::int64_t partial_row(const AttentionArguments& a, const AttentionBlock& block,
                                                    const PartialRows& parts, int row) {
  return blockIdx.x * parts.split.rows + block.statistic_at(a.kv_heads * block.group, 1, row);
}

// Split: only the part blockIdx.x of the keys, to `parts`; all rows are one tile.
template <int Width, bool Split>
__global__ void __launch_bounds__(ForwardShape<Width>::threads, 2)
    attention_forward(AttentionArguments a, PartialRows parts) {
  using S = ForwardShape<Width>;
  SKYMM_DYNAMIC_SHARED(shared);
  const typename S::Queries queries{reinterpret_cast<bf16*>(shared)};
  const typename S::Keys keys{queries.data + S::Queries::elements}, values{keys.data + S::Keys::elements};
  const AttentionProblem& p = a.problem;
  const int width = static_cast<int>(p.width);
  const AttentionBlock block(a, blockIdx.z, blockIdx.y);
  const int first_row = Split ? 0 : (gridDim.x - 1 - blockIdx.x) * S::rows;  // those that see the most keys start first
  if (first_row >= block.rows) return;                                       // the whole block

  const int warp_row = threadIdx.x / 32 * 16;
  const ResultPlace lane;
  const int row[2] = {first_row + warp_row + lane.row(0), first_row + warp_row + lane.row(2)};
  const int seen[2] = {block.seen(row[0]), block.seen(row[1])};
  const int first_key = Split ? static_cast<int>(blockIdx.x) * parts.split.span : 0;
  const int all_keys = block.seen(min(first_row + S::rows, block.rows) - 1);
  const int key_end = Split ? min(all_keys, first_key + parts.split.span) : all_keys;

  load_queries<S::threads>(queries, block, p.q, first_row, width);
  load_keys<S::threads>(keys, block, p.k, first_key, width);
  cp_async_commit();
  OnlineSoftmax softmax;
  float sums[Width / 8][4] = {};
  for (int key = first_key; key < key_end; key += S::keys) {
    cp_async_wait<0>();
    __syncthreads();  // keys are here; nobody reads the values before these any more
    load_keys<S::threads>(values, block, p.v, key, width);
    cp_async_commit();
    float scores[S::keys / 8][4] = {};
    multiply_transposed<Width, S::keys>(scores, queries, warp_row, keys);
    cp_async_wait<0>();
    __syncthreads();  // values are here; nobody reads the keys any more
    if (key + S::keys < key_end) load_keys<S::threads>(keys, block, p.k, key + S::keys, width);
    cp_async_commit();

    const int of_tile[2] = {seen[0] - key, seen[1] - key};
    float factor[2];
    softmax.template update<S::keys>(scores, p.scale * log2_e, of_tile, factor);
#pragma unroll
    for (int j = 0; j < Width / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) sums[j][e] *= factor[e / 2];
    }
    multiply_registers<Width, S::keys>(sums, scores, values);
  }
  cp_async_wait<0>();

  softmax.finish();
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (row[h] >= block.rows) continue;
    const float inverse = softmax.inverse(h);
    const std::int64_t at = Split ? partial_row(a, block, parts, row[h]) : block.query_at(p.out, row[h]);
#pragma unroll
    for (int j = 0; j < Width / 8; ++j) {
      const int column = j * 8 + lane.column(0);
      const float first = sums[j][2 * h] * inverse, second = sums[j][2 * h + 1] * inverse;
      if constexpr (Split) {
        if (column < width) parts.rows[at * width + column] = first;
        if (column + 1 < width) parts.rows[at * width + column + 1] = second;
      } else {
        store_two(p.out, at, column, width, first, second);
      }
    }
    if (threadIdx.x % 4 != 0) continue;
    if constexpr (Split) {
      parts.logsumexp[at] = softmax.logsumexp(h);
    } else {
      p.logsumexp[block.statistic_at(p.logsumexp_token_step, p.logsumexp_head_step, row[h])] = softmax.logsumexp(h);
    }
  }
}

}  // namespace

void attention_by_tensor_cores(const AttentionArguments& a, Stream& stream) {
  with_width(a.problem.width, [&](auto width) {
    using S = ForwardShape<decltype(width)::value>;
    launch_grid(attention_forward<decltype(width)::value, false>, query_grid(a, S::rows), S::threads, S::shared_bytes,
                stream, a, PartialRows{});
  });
}

void attention_of_parts_by_tensor_cores(const AttentionArguments& a, const PartialRows& parts, Stream& stream) {
  with_width(a.problem.width, [&](auto width) {
    using S = ForwardShape<decltype(width)::value>;
    dim3 grid = query_grid(a, S::rows);
    grid.x = static_cast<unsigned>(parts.split.parts);
    launch_grid(attention_forward<decltype(width)::value, true>, grid, S::threads, S::shared_bytes, stream, a, parts);
  });
}

}  // namespace skymm::cuda
