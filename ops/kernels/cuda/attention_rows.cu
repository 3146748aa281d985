// The choice of attention's kernels, and what is done to rows before and after them: delta, which all gradients start
// with, and the sum of what the parts of split keys found.
#include <algorithm>

#include "ops/kernels/cuda/attention_block.hpp"
#include "ops/kernels/cuda/attention_launch.hpp"

namespace skymm::cuda {
namespace {

constexpr int threads = 128, rows_a_block = threads / 32;  // a warp a row

unsigned blocks_for_rows(std::int64_t rows) { return static_cast<unsigned>((rows + rows_a_block - 1) / rows_a_block); }

__device__ __forceinline__ std::int64_t row_of_warp() {
  return static_cast<std::int64_t>(blockIdx.x) * rows_a_block + threadIdx.x / 32;
}

// delta[row] = the sum of dout out over a row
template <class T>
__global__ void __launch_bounds__(threads)
    row_products(AttentionProblem p, std::int64_t rows, int heads, float* delta) {
  const std::int64_t row = row_of_warp();
  if (row >= rows) return;  // the whole warp
  const std::int64_t token = row / heads, head = row % heads;
  const auto* const out = static_cast<const T*>(p.out.data) + token * p.out.token_step + head * p.out.head_step;
  const auto* const dout = static_cast<const T*>(p.dout.data) + token * p.dout.token_step + head * p.dout.head_step;
  float sum = 0;
  for (int i = threadIdx.x % 32; i < p.width; i += 32) sum = fmaf(to_float(out[i]), to_float(dout[i]), sum);
#pragma unroll
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(whole_warp, sum, step);
  if (threadIdx.x % 32 == 0) delta[row] = sum;
}

// A row of out and its logsumexp, of what the parts of its keys found.
__global__ void __launch_bounds__(threads) add_parts(AttentionProblem p, PartialRows parts, int heads) {
  const std::int64_t rows = parts.split.rows, row = row_of_warp();
  if (row >= rows) return;
  const std::int64_t token = row / heads, head = row % heads;
  float top = -infinity, total = 0;
  for (int i = 0; i < parts.split.parts; ++i) top = fmaxf(top, parts.logsumexp[i * rows + row]);
  const float base = top == -infinity ? 0.0F : top;
  for (int i = 0; i < parts.split.parts; ++i) total += expf(parts.logsumexp[i * rows + row] - base);
  const float inverse = total == 0.0F ? 0.0F : 1.0F / total;
  auto* const out = static_cast<bf16*>(p.out.data) + token * p.out.token_step + head * p.out.head_step;
  for (int column = threadIdx.x % 32; column < p.width; column += 32) {
    float sum = 0;
    for (int i = 0; i < parts.split.parts; ++i) {
      const std::int64_t at = i * rows + row;
      sum = fmaf(expf(parts.logsumexp[at] - base), parts.rows[at * p.width + column], sum);
    }
    out[column] = from_float<bf16>(sum * inverse);
  }
  if (threadIdx.x % 32 == 0) {
    p.logsumexp[token * p.logsumexp_token_step + head * p.logsumexp_head_step] = base + logf(total);
  }
}

bool by_tensor_cores(const AttentionProblem& p) { return p.q.dtype == DType::bf16 && p.width <= max_tensor_core_width; }

}  // namespace

KeySplit split_keys(const AttentionArguments& a, std::int64_t query_tokens) {
  constexpr std::int64_t least_span = 128, filled = 2 * 108;  // two blocks a multiprocessor of a large device
  KeySplit split{.rows = query_tokens * a.kv_heads * a.problem.group, .width = a.problem.width};
  const std::int64_t blocks = static_cast<std::int64_t>(a.sequences) * a.kv_heads;
  if (!by_tensor_cores(a.problem) || a.max_queries * a.problem.group > tensor_core_rows || blocks == 0) return split;
  const std::int64_t wanted = std::min((filled + blocks - 1) / blocks, (a.max_keys + least_span - 1) / least_span);
  if (wanted <= 1) return split;
  const std::int64_t span = (a.max_keys + wanted - 1) / wanted;
  split.span = static_cast<int>((span + tensor_core_keys - 1) / tensor_core_keys * tensor_core_keys);
  split.parts = (a.max_keys + split.span - 1) / split.span;
  return split;
}

void attention(const AttentionArguments& a, const KeySplit& split, float* workspace, Stream& stream) {
  if (!by_tensor_cores(a.problem)) return attention_by_scalars(a, stream);
  if (split.parts == 1) return attention_by_tensor_cores(a, stream);
  const PartialRows parts{workspace, workspace + split.parts * split.rows * split.width, split};
  attention_of_parts_by_tensor_cores(a, parts, stream);
  launch_grid(add_parts, dim3(blocks_for_rows(split.rows)), threads, 0, stream, a.problem, parts,
              static_cast<int>(a.kv_heads * a.problem.group));
}

void attention_gradient(const AttentionArguments& a, std::int64_t query_tokens, float* delta, Stream& stream) {
  const AttentionProblem& p = a.problem;
  const int heads = static_cast<int>(a.kv_heads * p.group);
  const std::int64_t rows = query_tokens * heads;
  launch_grid(p.q.dtype == DType::bf16 ? row_products<bf16> : row_products<float>, dim3(blocks_for_rows(rows)), threads,
              0, stream, p, rows, heads, delta);
  by_tensor_cores(p) ? attention_gradient_by_tensor_cores(a, delta, stream)
                     : attention_gradient_by_scalars(a, delta, stream);
}

}  // namespace skymm::cuda
