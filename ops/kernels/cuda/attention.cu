// The choice of attention's kernels, and delta, which all gradients start with.
#include "ops/kernels/cuda/attention.hpp"
#include "ops/kernels/cuda/attention_launch.hpp"

namespace skymm::cuda {
namespace {

constexpr int delta_threads = 128;

// delta[row] = the sum of dout out over a row, by a warp.
template <class T>
__global__ void __launch_bounds__(delta_threads)
    row_products(AttentionProblem p, std::int64_t rows, int heads, float* delta) {
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * (delta_threads / 32) + threadIdx.x / 32;
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

bool by_tensor_cores(const AttentionProblem& p) { return p.q.dtype == DType::bf16 && p.width <= max_tensor_core_width; }

}  // namespace

AttentionArguments attention_arguments(const AttentionProblem& problem, const AttentionShape& shape,
                                       std::int64_t kv_heads) {
  return {problem,
          shape.query_offsets.data<std::int32_t>(),
          shape.key_offsets.data<std::int32_t>(),
          shape.key_lengths.defined() ? shape.key_lengths.data<std::int32_t>() : nullptr,
          static_cast<int>(shape.query_offsets.dim(0) - 1),
          static_cast<int>(kv_heads),
          static_cast<int>(shape.max_queries),
          static_cast<int>(shape.max_keys)};
}

void attention(const AttentionArguments& a, Stream& stream) {
  by_tensor_cores(a.problem) ? attention_by_tensor_cores(a, stream) : attention_by_scalars(a, stream);
}

void attention_gradient(const AttentionArguments& a, std::int64_t query_tokens, float* delta, Stream& stream) {
  const AttentionProblem& p = a.problem;
  const int heads = static_cast<int>(a.kv_heads * p.group);
  const std::int64_t rows = query_tokens * heads, warps = delta_threads / 32;
  launch_grid(p.q.dtype == DType::bf16 ? row_products<bf16> : row_products<float>,
              dim3(static_cast<unsigned>((rows + warps - 1) / warps)), delta_threads, 0, stream, p, rows, heads, delta);
  by_tensor_cores(p) ? attention_gradient_by_tensor_cores(a, delta, stream)
                     : attention_gradient_by_scalars(a, delta, stream);
}

}  // namespace skymm::cuda
