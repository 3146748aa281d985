// The gradient of attention of bf16 by tensor cores. With P the weights, dP = dout v^T and delta the sum of dout out of
// a row:  dS = P (dP - delta),  dq = scale dS k,  dk = scale dS^T q,  dv = P^T dout.
#include "ops/kernels/cuda/attention_block.hpp"
#include "ops/kernels/cuda/attention_launch.hpp"

namespace skymm::cuda {
namespace {

// Rows of dq, or keys of dk and dv, that a block makes, and how many of the others it meets at a time: fewer where a
// row is wide, for registers.
template <int Width>
struct BackwardShape {
  static constexpr int own = 64, others = Width > 64 ? 32 : 64, threads = 128;
  static constexpr int query_blocks = Width > 64 ? 2 : 3;  // of a multiprocessor at least; for more, ptxas would spill
  using Own = Tile<own, Width>;
  using Other = Tile<others, Width>;
  static constexpr int tile_bytes = (2 * Own::elements + 4 * Other::elements) * static_cast<int>(sizeof(bf16));
};

// The two tiles of the others that a step meets, of two steps in turn.
template <class S>
struct OtherTiles {
  typename S::Other first, second;

  __device__ OtherTiles(bf16* memory, int step)
      : first{memory + step % 2 * 2 * S::Other::elements}, second{first.data + S::Other::elements} {}
};

// P and dS of a score: dS without the scale.
struct ScoreGradient {
  float weight, gradient;

  __device__ ScoreGradient(bool seen, float score, float scale, float logsumexp, float dweight, float delta)
      : weight(seen ? exp2f((score * scale - logsumexp) * log2_e) : 0.0F),
        gradient(seen ? weight * (dweight - delta) : 0.0F) {}
};

template <int Width>
__global__ void __launch_bounds__(BackwardShape<Width>::threads, BackwardShape<Width>::query_blocks)
    query_gradient(AttentionArguments a, const float* deltas) {
  using S = BackwardShape<Width>;
  SKYMM_DYNAMIC_SHARED(shared);
  const typename S::Own queries{reinterpret_cast<bf16*>(shared)}, douts{queries.data + S::Own::elements};
  bf16* const others = douts.data + S::Own::elements;
  const AttentionProblem& p = a.problem;
  const int width = static_cast<int>(p.width);
  const AttentionBlock block(a, blockIdx.z, blockIdx.y);
  const int first_row = (gridDim.x - 1 - blockIdx.x) * S::own;
  if (first_row >= block.rows) return;  // the whole block

  const int warp_row = threadIdx.x / 32 * 16;
  const ResultPlace lane;
  int row[2], seen[2];
  float logsumexp[2], delta[2];
  for (int h = 0; h < 2; ++h) {
    row[h] = first_row + warp_row + lane.row(2 * h);
    seen[h] = block.seen(row[h]);
    logsumexp[h] = logsumexp_of(a, block, row[h]);
    delta[h] = delta_of(a, block, deltas, row[h]);
  }
  const int key_end = block.seen(min(first_row + S::own, block.rows) - 1);
  const auto load = [&](int step) {
    const OtherTiles<S> tiles(others, step);
    load_keys<S::threads>(tiles.first, block, p.k, step * S::others, width);
    load_keys<S::threads>(tiles.second, block, p.v, step * S::others, width);
  };

  load_queries<S::threads>(queries, block, p.q, first_row, width);
  load_queries<S::threads>(douts, block, p.dout, first_row, width);
  load(0);
  cp_async_commit();
  float sums[Width / 8][4] = {};
  for (int step = 0; step * S::others < key_end; ++step) {
    cp_async_wait<0>();
    __syncthreads();  // this step's keys are here; nobody reads the others any more
    if ((step + 1) * S::others < key_end) load(step + 1);
    cp_async_commit();
    const OtherTiles<S> tiles(others, step);
    float scores[S::others / 8][4] = {}, dweights[S::others / 8][4] = {};
    multiply_transposed<Width, S::others>(scores, queries, warp_row, tiles.first);
    multiply_transposed<Width, S::others>(dweights, douts, warp_row, tiles.second);
#pragma unroll
    for (int j = 0; j < S::others / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int key = step * S::others + j * 8 + lane.column(e), h = e / 2;
        const ScoreGradient g(key < seen[h], scores[j][e], p.scale, logsumexp[h], dweights[j][e], delta[h]);
        scores[j][e] = g.gradient;
      }
    }
    multiply_registers<Width, S::others>(sums, scores, tiles.first);
  }
  cp_async_wait<0>();
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (row[h] >= block.rows) continue;
    const std::int64_t at = block.query_at(p.dq, row[h]);
#pragma unroll
    for (int j = 0; j < Width / 8; ++j) {
      store_two(p.dq, at, j * 8 + lane.column(0), width, sums[j][2 * h] * p.scale, sums[j][2 * h + 1] * p.scale);
    }
  }
}

// Of the rows that a step meets, two steps in turn.
template <int Rows>
struct RowStatistics {
  float logsumexp[2][Rows], delta[2][Rows];
  int seen[2][Rows];
};

template <int Width>
__global__ void __launch_bounds__(BackwardShape<Width>::threads)
    key_gradient(AttentionArguments a, const float* deltas) {
  using S = BackwardShape<Width>;
  SKYMM_DYNAMIC_SHARED(shared);
  const typename S::Own keys{reinterpret_cast<bf16*>(shared)}, values{keys.data + S::Own::elements};
  bf16* const others = values.data + S::Own::elements;
  SKYMM_SHARED_ARRAY(RowStatistics<S::others>, statistics, 1);
  const AttentionProblem& p = a.problem;
  const int width = static_cast<int>(p.width);
  const AttentionBlock block(a, blockIdx.z, blockIdx.y);
  const int first_key = blockIdx.x * S::own;
  if (first_key >= block.keys) return;  // the whole block

  const int warp_key = threadIdx.x / 32 * 16;
  const ResultPlace lane;
  const int first_step = block.first_row_that_sees(first_key) / S::others;
  const auto load = [&](int step) {
    const OtherTiles<S> tiles(others, step);
    load_queries<S::threads>(tiles.first, block, p.q, step * S::others, width);
    load_queries<S::threads>(tiles.second, block, p.dout, step * S::others, width);
    for (int i = threadIdx.x; i < S::others; i += S::threads) {
      const int row = step * S::others + i;
      statistics->logsumexp[step % 2][i] = logsumexp_of(a, block, row);
      statistics->delta[step % 2][i] = delta_of(a, block, deltas, row);
      statistics->seen[step % 2][i] = block.seen(row);
    }
  };

  load_keys<S::threads>(keys, block, p.k, first_key, width);
  load_keys<S::threads>(values, block, p.v, first_key, width);
  load(first_step);
  cp_async_commit();
  float dk[Width / 8][4] = {}, dv[Width / 8][4] = {};
  for (int step = first_step; step * S::others < block.rows; ++step) {
    cp_async_wait<0>();
    __syncthreads();  // this step's rows are here; nobody reads the others any more
    if ((step + 1) * S::others < block.rows) load(step + 1);
    cp_async_commit();
    const OtherTiles<S> tiles(others, step);
    float scores[S::others / 8][4] = {}, dweights[S::others / 8][4] = {};  // transposed: [key][row]
    multiply_transposed<Width, S::others>(scores, keys, warp_key, tiles.first);
    multiply_transposed<Width, S::others>(dweights, values, warp_key, tiles.second);
#pragma unroll
    for (int j = 0; j < S::others / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int key = first_key + warp_key + lane.row(e), i = j * 8 + lane.column(e);
        const ScoreGradient g(key < statistics->seen[step % 2][i], scores[j][e], p.scale,
                              statistics->logsumexp[step % 2][i], dweights[j][e], statistics->delta[step % 2][i]);
        scores[j][e] = g.weight;
        dweights[j][e] = g.gradient;
      }
    }
    multiply_registers<Width, S::others>(dv, scores, tiles.second);
    multiply_registers<Width, S::others>(dk, dweights, tiles.first);
  }
  cp_async_wait<0>();
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int key = first_key + warp_key + lane.row(2 * h);
    if (key >= block.keys) continue;
    const std::int64_t k_at = block.key_at(p.dk, key), v_at = block.key_at(p.dv, key);
#pragma unroll
    for (int j = 0; j < Width / 8; ++j) {
      const int column = j * 8 + lane.column(0);
      store_two(p.dk, k_at, column, width, dk[j][2 * h] * p.scale, dk[j][2 * h + 1] * p.scale);
      store_two(p.dv, v_at, column, width, dv[j][2 * h], dv[j][2 * h + 1]);
    }
  }
}

}  // namespace

void attention_gradient_by_tensor_cores(const AttentionArguments& a, const float* delta, Stream& stream) {
  with_width(a.problem.width, [&](auto width) {
    using S = BackwardShape<decltype(width)::value>;
    constexpr int w = decltype(width)::value;
    launch_grid(query_gradient<w>, query_grid(a, S::own), S::threads, S::tile_bytes, stream, a, delta);
    launch_grid(key_gradient<w>, key_grid(a, S::own), S::threads, S::tile_bytes, stream, a, delta);
  });
}

}  // namespace skymm::cuda
