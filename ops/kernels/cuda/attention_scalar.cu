// Attention and its gradient without tensor cores: f32, whose products they would round, and heads wider than they are
// compiled for. Four threads share a row of the block's own tile; everything lies in shared memory as f32.
#include "ops/kernels/cuda/attention_block.hpp"
#include "ops/kernels/cuda/attention_launch.hpp"

namespace skymm::cuda {
namespace {

inline constexpr int own_rows = 32, threads = 4 * own_rows;

// [rows][width] in shared memory, rows apart by an odd number of floats.
struct FloatTile {
  float* data;
  int pitch;

  __device__ float* operator[](int row) const { return data + row * pitch; }
  __device__ static int pitch_of(int width) { return width | 1; }
};

// The next tiles of a block's dynamic memory.
class TileMemory {
 public:
  __device__ TileMemory(unsigned char* memory, int width)
      : next_(reinterpret_cast<float*>(memory)), pitch_(FloatTile::pitch_of(width)) {}
  __device__ FloatTile take(int rows) {
    const FloatTile tile{next_, pitch_};
    next_ += rows * pitch_;
    return tile;
  }

 private:
  float* next_;
  int pitch_;
};

int tile_bytes(std::int64_t width, int rows) {
  return static_cast<int>((width | 1) * rows) * static_cast<int>(sizeof(float));
}

// tile[i] = the elements at at(first + i), zeros from `count` on.
template <class T, class At>
__device__ void load_floats(const FloatTile& tile, const Heads& x, const At& at, int first, int rows, int count,
                            int width) {
  for (int i = threadIdx.x; i < rows * width; i += threads) {
    const int row = i / width, column = i % width;
    tile[row][column] = first + row < count ? to_float(static_cast<const T*>(x.data)[at(first + row) + column]) : 0.0F;
  }
}
template <class T>
__device__ void load_queries(const FloatTile& tile, const AttentionBlock& block, const Heads& x, int first, int rows,
                             int width) {
  load_floats<T>(
      tile, x, [&](int r) { return block.query_at(x, r); }, first, rows, block.rows, width);
}
template <class T>
__device__ void load_keys(const FloatTile& tile, const AttentionBlock& block, const Heads& x, int first, int rows,
                          int width) {
  load_floats<T>(
      tile, x, [&](int k) { return block.key_at(x, k); }, first, rows, block.keys, width);
}

__device__ float dot(const float* x, const float* y, int width) {
  float sum = 0;
  for (int i = 0; i < width; ++i) sum = fmaf(x[i], y[i], sum);
  return sum;
}

__device__ float sum_of_four(float x) {
  x += __shfl_xor_sync(whole_warp, x, 1);
  return x + __shfl_xor_sync(whole_warp, x, 2);
}

// sums[i] += weights[j] rows[j][i] over j, for this thread's columns of a row
__device__ void add_weighted(float* sums, const float* weights, const FloatTile& rows, int count, int width) {
  for (int i = threadIdx.x % 4; i < width; i += 4) {
    float sum = sums[i];
    for (int j = 0; j < count; ++j) sum = fmaf(weights[j], rows[j][i], sum);
    sums[i] = sum;
  }
}

template <class T>
__device__ void store_scaled(T* to, const float* row, float scale, int width) {
  for (int i = threadIdx.x % 4; i < width; i += 4) to[i] = from_float<T>(row[i] * scale);
}

constexpr int keys_a_step = 16;

template <class T>
__global__ void __launch_bounds__(threads) forward_by_scalars(AttentionArguments a) {
  SKYMM_DYNAMIC_SHARED(shared);
  SKYMM_SHARED_ARRAY(float, shared_weights, own_rows*(keys_a_step + 1));
  const AttentionProblem& p = a.problem;
  const int width = static_cast<int>(p.width), own = threadIdx.x / 4, quarter = threadIdx.x % 4;
  const AttentionBlock block(a, blockIdx.z, blockIdx.y);
  const int first_row = blockIdx.x * own_rows, row = first_row + own, seen = block.seen(row);
  if (first_row >= block.rows) return;  // the whole block
  TileMemory memory(shared, width);
  const FloatTile queries = memory.take(own_rows), sums = memory.take(own_rows);
  const FloatTile keys = memory.take(keys_a_step), values = memory.take(keys_a_step);
  float* const weights = shared_weights + own * (keys_a_step + 1);

  load_queries<T>(queries, block, p.q, first_row, own_rows, width);
  for (int i = quarter; i < width; i += 4) sums[own][i] = 0;
  float maximum = -infinity, total = 0;
  const int key_end = block.seen(min(first_row + own_rows, block.rows) - 1);
  for (int first_key = 0; first_key < key_end; first_key += keys_a_step) {
    __syncthreads();  // nobody reads the keys and weights before these any more
    load_keys<T>(keys, block, p.k, first_key, keys_a_step, width);
    load_keys<T>(values, block, p.v, first_key, keys_a_step, width);
    __syncthreads();
    float scores[keys_a_step / 4], next = maximum;
#pragma unroll
    for (int j = 0; j < keys_a_step / 4; ++j) {
      const int key = j * 4 + quarter;
      scores[j] = first_key + key < seen ? dot(queries[own], keys[key], width) * p.scale : -infinity;
      next = fmaxf(next, scores[j]);
    }
    next = fmaxf(next, __shfl_xor_sync(whole_warp, next, 1));
    next = fmaxf(next, __shfl_xor_sync(whole_warp, next, 2));
    const float base = next == -infinity ? 0.0F : next;  // a row that sees no key as yet has no weights
    const float factor = expf(maximum - base);
    maximum = next;
    total *= factor;
#pragma unroll
    for (int j = 0; j < keys_a_step / 4; ++j) {
      const float weight = expf(scores[j] - base);
      total += weight;
      weights[j * 4 + quarter] = weight;
    }
    __syncwarp();
    for (int i = quarter; i < width; i += 4) sums[own][i] *= factor;
    add_weighted(sums[own], weights, values, keys_a_step, width);
  }
  total = sum_of_four(total);
  if (row >= block.rows) return;
  store_scaled(static_cast<T*>(p.out.data) + block.query_at(p.out, row), sums[own], total == 0.0F ? 0.0F : 1.0F / total,
               width);
  if (quarter == 0) {
    p.logsumexp[block.statistic_at(p.logsumexp_token_step, p.logsumexp_head_step, row)] =
        total == 0.0F ? -infinity : maximum + logf(total);
  }
}

template <class T>
__global__ void __launch_bounds__(threads) query_gradient_by_scalars(AttentionArguments a, const float* deltas) {
  SKYMM_DYNAMIC_SHARED(shared);
  SKYMM_SHARED_ARRAY(float, shared_gradients, own_rows*(keys_a_step + 1));
  const AttentionProblem& p = a.problem;
  const int width = static_cast<int>(p.width), own = threadIdx.x / 4, quarter = threadIdx.x % 4;
  const AttentionBlock block(a, blockIdx.z, blockIdx.y);
  const int first_row = blockIdx.x * own_rows, row = first_row + own, seen = block.seen(row);
  if (first_row >= block.rows) return;  // the whole block
  TileMemory memory(shared, width);
  const FloatTile queries = memory.take(own_rows), douts = memory.take(own_rows), sums = memory.take(own_rows);
  const FloatTile keys = memory.take(keys_a_step), values = memory.take(keys_a_step);
  float* const gradients = shared_gradients + own * (keys_a_step + 1);
  const float logsumexp = logsumexp_of(a, block, row), delta = delta_of(a, block, deltas, row);

  load_queries<T>(queries, block, p.q, first_row, own_rows, width);
  load_queries<T>(douts, block, p.dout, first_row, own_rows, width);
  for (int i = quarter; i < width; i += 4) sums[own][i] = 0;
  const int key_end = block.seen(min(first_row + own_rows, block.rows) - 1);
  for (int first_key = 0; first_key < key_end; first_key += keys_a_step) {
    __syncthreads();  // nobody reads the keys and gradients before these any more
    load_keys<T>(keys, block, p.k, first_key, keys_a_step, width);
    load_keys<T>(values, block, p.v, first_key, keys_a_step, width);
    __syncthreads();
    for (int key = quarter; key < keys_a_step; key += 4) {
      float gradient = 0;
      if (first_key + key < seen) {
        const float weight = expf(dot(queries[own], keys[key], width) * p.scale - logsumexp);
        gradient = weight * (dot(douts[own], values[key], width) - delta);
      }
      gradients[key] = gradient;
    }
    __syncwarp();
    add_weighted(sums[own], gradients, keys, keys_a_step, width);
  }
  if (row >= block.rows) return;
  store_scaled(static_cast<T*>(p.dq.data) + block.query_at(p.dq, row), sums[own], p.scale, width);
}

constexpr int rows_a_step = 8;

template <class T>
__global__ void __launch_bounds__(threads) key_gradient_by_scalars(AttentionArguments a, const float* deltas) {
  SKYMM_DYNAMIC_SHARED(shared);
  SKYMM_SHARED_ARRAY(float, shared_weights, own_rows*(rows_a_step + 1));
  SKYMM_SHARED_ARRAY(float, shared_gradients, own_rows*(rows_a_step + 1));
  const AttentionProblem& p = a.problem;
  const int width = static_cast<int>(p.width), own = threadIdx.x / 4, quarter = threadIdx.x % 4;
  const AttentionBlock block(a, blockIdx.z, blockIdx.y);
  const int first_key = blockIdx.x * own_rows, key = first_key + own;
  if (first_key >= block.keys) return;  // the whole block
  TileMemory memory(shared, width);
  const FloatTile keys = memory.take(own_rows), values = memory.take(own_rows);
  const FloatTile dk = memory.take(own_rows), dv = memory.take(own_rows);
  const FloatTile queries = memory.take(rows_a_step), douts = memory.take(rows_a_step);
  float* const weights = shared_weights + own * (rows_a_step + 1);
  float* const gradients = shared_gradients + own * (rows_a_step + 1);

  load_keys<T>(keys, block, p.k, first_key, own_rows, width);
  load_keys<T>(values, block, p.v, first_key, own_rows, width);
  for (int i = quarter; i < width; i += 4) dk[own][i] = dv[own][i] = 0;
  for (int first_row = block.first_row_that_sees(first_key); first_row < block.rows; first_row += rows_a_step) {
    __syncthreads();  // nobody reads the rows, weights and gradients before these any more
    load_queries<T>(queries, block, p.q, first_row, rows_a_step, width);
    load_queries<T>(douts, block, p.dout, first_row, rows_a_step, width);
    __syncthreads();
    for (int i = quarter; i < rows_a_step; i += 4) {
      const int row = first_row + i;
      float weight = 0, gradient = 0;
      if (key < block.seen(row)) {
        weight = expf(dot(keys[own], queries[i], width) * p.scale - logsumexp_of(a, block, row));
        gradient = weight * (dot(values[own], douts[i], width) - delta_of(a, block, deltas, row));
      }
      weights[i] = weight;
      gradients[i] = gradient;
    }
    __syncwarp();
    add_weighted(dv[own], weights, douts, rows_a_step, width);
    add_weighted(dk[own], gradients, queries, rows_a_step, width);
  }
  if (key >= block.keys) return;
  store_scaled(static_cast<T*>(p.dk.data) + block.key_at(p.dk, key), dk[own], p.scale, width);
  store_scaled(static_cast<T*>(p.dv.data) + block.key_at(p.dv, key), dv[own], 1.0F, width);
}

template <class T>
void launch_gradient(const AttentionArguments& a, const float* delta, Stream& stream) {
  const std::int64_t width = a.problem.width;
  launch_grid(query_gradient_by_scalars<T>, query_grid(a, own_rows), threads,
              tile_bytes(width, 3 * own_rows + 2 * keys_a_step), stream, a, delta);
  launch_grid(key_gradient_by_scalars<T>, key_grid(a, own_rows), threads,
              tile_bytes(width, 4 * own_rows + 2 * rows_a_step), stream, a, delta);
}

}  // namespace

void attention_by_scalars(const AttentionArguments& a, Stream& stream) {
  const bool bf16s = a.problem.q.dtype == DType::bf16;
  launch_grid(bf16s ? forward_by_scalars<bf16> : forward_by_scalars<float>, query_grid(a, own_rows), threads,
              tile_bytes(a.problem.width, 2 * own_rows + 2 * keys_a_step), stream, a);
}

void attention_gradient_by_scalars(const AttentionArguments& a, const float* delta, Stream& stream) {
  a.problem.q.dtype == DType::bf16 ? launch_gradient<bf16>(a, delta, stream) : launch_gradient<float>(a, delta, stream);
}

}  // namespace skymm::cuda
