// Attention and its gradient on a CUDA device, over raw memory (Kernels::attention). Scores are never stored: a block
// of threads keeps a tile of queries and goes along the keys (Dao et al. 2022, 2023). Sums are made in an order that
// depends on the shapes alone, without atomics; the gradient makes scores twice for that: once for dq, a tile of
// queries a block, and once for dk and dv, a tile of keys a block.
#pragma once

#include "ops/kernels/attention_problem.hpp"
#include "ops/kernels/cuda/primitives.hpp"

namespace skymm::cuda {

// All pointers are to device memory.
struct AttentionArguments {
  AttentionProblem problem;
  const std::int32_t* query_offsets = nullptr;
  const std::int32_t* key_offsets = nullptr;
  const std::int32_t* key_lengths = nullptr;  // or null
  int sequences = 0, kv_heads = 0;
  int max_queries = 0, max_keys = 0;
};
AttentionArguments attention_arguments(const AttentionProblem& problem, const AttentionShape& shape,
                                       std::int64_t kv_heads);

inline constexpr int max_attention_width = 256;

void attention(const AttentionArguments& arguments, Stream& stream);
// delta: workspace, f32 [query tokens, heads]
void attention_gradient(const AttentionArguments& arguments, std::int64_t query_tokens, float* delta, Stream& stream);

}  // namespace skymm::cuda
