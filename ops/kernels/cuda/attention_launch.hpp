// The attention kernels' launches, by kind.
#pragma once

#include <type_traits>

#include "ops/kernels/cuda/attention.hpp"
#include "ops/kernels/cuda/primitives.hpp"

namespace skymm::cuda {

inline constexpr int max_tensor_core_width = 128;
inline constexpr int tensor_core_rows = 64, tensor_core_keys = 64;  // of a tile, forward

// Where the parts of split keys leave what they found: normalised rows, and their logsumexp.
struct PartialRows {
  float* rows = nullptr;       // [parts, query tokens, heads, width]
  float* logsumexp = nullptr;  // [parts, query tokens, heads]
  KeySplit split;
};

// bf16, widths up to max_tensor_core_width
void attention_by_tensor_cores(const AttentionArguments& a, Stream& stream);
void attention_of_parts_by_tensor_cores(const AttentionArguments& a, const PartialRows& parts, Stream& stream);
void attention_gradient_by_tensor_cores(const AttentionArguments& a, const float* delta, Stream& stream);
// f32, and what is wider
void attention_by_scalars(const AttentionArguments& a, Stream& stream);
void attention_gradient_by_scalars(const AttentionArguments& a, const float* delta, Stream& stream);

// f of the least of the compiled widths that holds `width`: rows are filled up with zeros.
template <class F>
void with_width(std::int64_t width, const F& f) {
  if (width <= 32) return f(std::integral_constant<int, 32>{});
  if (width <= 64) return f(std::integral_constant<int, 64>{});
  if (width <= 96) return f(std::integral_constant<int, 96>{});
  return f(std::integral_constant<int, 128>{});
}

// Blocks of `rows` rows, or of `keys` keys, of the longest sequence.
inline dim3 query_grid(const AttentionArguments& a, int rows) {
  const std::int64_t all = a.max_queries * a.problem.group;
  return {static_cast<unsigned>((all + rows - 1) / rows), static_cast<unsigned>(a.kv_heads),
          static_cast<unsigned>(a.sequences)};
}
inline dim3 key_grid(const AttentionArguments& a, int keys) {
  return {static_cast<unsigned>((a.max_keys + keys - 1) / keys), static_cast<unsigned>(a.kv_heads),
          static_cast<unsigned>(a.sequences)};
}

template <class Kernel, class... A>
void launch_grid(Kernel kernel, dim3 grid, int threads, int shared_bytes, Stream& stream, const A&... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  launch(kernel, grid, dim3(static_cast<unsigned>(threads)), static_cast<std::size_t>(shared_bytes), stream,
         arguments...);
}

}  // namespace skymm::cuda
