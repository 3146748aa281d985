// Softmax attention and rotary positions, differentiable. Sequences of different lengths lie one after the other
// (AttentionShape in ops/kernels/kernels.hpp) and do not see each other. H heads of queries, Hkv of keys and values,
// each D wide.
#pragma once

#include "core/graph.hpp"
#include "ops/kernels/kernels.hpp"

namespace skymm {

struct HeadCounts {
  std::int64_t queries = 1;      // H
  std::int64_t keys_values = 1;  // Hkv, divides H: grouped queries (Ainslie et al. 2023)
  std::int64_t width = 64;       // D
};

// Where positions turn queries and keys (Su et al. 2021, with LLaMA's pairs). positions i32 [T].
struct Rotary {
  Tensor positions;
  float theta = 1e4F;
};

// qkv: [T, (H + 2 Hkv) D] = [q | k | v] -> [T, H D]. `qkv` is consumed: rotation turns its tensor in place. A rotary
// without positions turns nothing.
Variable self_attention(const Variable& qkv, const HeadCounts& heads, const AttentionShape& shape,
                        const Rotary& rotary = {});

// self_attention of tokens that follow others, for inference: their keys and values are put into the rows `rows` (i32
// [T]) of cache [.., 2 Hkv D] = [k | v], and the queries meet the keys that are there, as `shape` says. Throws Error
// where a gradient would pass through.
Variable cached_self_attention(const Variable& qkv, const HeadCounts& heads, const AttentionShape& shape,
                               const Rotary& rotary, const Tensor& cache, const Tensor& rows);

// q: [Tq, H D], kv: [Tk, 2 Hkv D] = [k | v] -> [Tq, H D].
Variable cross_attention(const Variable& q, const Variable& kv, const HeadCounts& heads, const AttentionShape& shape);
// k, v: [Tk, Hkv D]
Variable cross_attention(const Variable& q, const Variable& k, const Variable& v, const HeadCounts& heads,
                         const AttentionShape& shape);

// Turns the pairs of each head. x: [T, heads * width].
Variable rotary_embedding(const Variable& x, std::int64_t heads, const Rotary& rotary);

}  // namespace skymm
