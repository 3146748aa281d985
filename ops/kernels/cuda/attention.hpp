// Attention and its gradient on a CUDA device, over raw memory (Kernels::attention). Scores are never stored: a block
// of threads keeps a tile of queries and goes along the keys (Dao et al. 2022, 2023). Sums are made in an order that
// depends on the shapes alone, without atomics; the gradient makes scores twice for that: once for dq, a tile of
// queries a block, and once for dk and dv, a tile of keys a block.
#pragma once

#include "core/stream.hpp"
#include "ops/kernels/attention_problem.hpp"

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

// Few queries of many keys (a cache's) do not fill a device: their keys are split into parts of `span`, each for other
// blocks of threads, whose results are weighed up at the end.
struct KeySplit {
  int span = 0;
  std::int64_t parts = 1;
  std::int64_t rows = 0;  // query tokens times heads
  std::int64_t width = 0;

  std::int64_t workspace() const { return parts == 1 ? 0 : parts * rows * (width + 1); }  // floats
};
KeySplit split_keys(const AttentionArguments& arguments, std::int64_t query_tokens);
void attention(const AttentionArguments& arguments, const KeySplit& split, float* workspace, Stream& stream);
// delta: workspace, f32 [query tokens, heads]
void attention_gradient(const AttentionArguments& arguments, std::int64_t query_tokens, float* delta, Stream& stream);

}  // namespace skymm::cuda
