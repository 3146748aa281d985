// Losses, differentiable. Each is a sum over rows, f32 [1]: who trains divides once, by the tokens of the whole batch.
#pragma once

#include "core/graph.hpp"
#include "ops/kernels/kernels.hpp"

namespace skymm {

// weight * sum over rows of (logsumexp - logit of the label); rows with a label < 0 do not count. logits [T, V],
// labels i32 [T].
Variable cross_entropy(const Variable& logits, const Tensor& labels, float weight = 1.0F);

// A language model's head.
struct Head {
  LinearWeightPtr weight;          // [V, D]
  Parameter* parameter = nullptr;  // of the weight, where it trains
  std::int64_t chunk_rows = 256;   // logits of so many rows exist at a time
};

// The sum of cross_entropy(hidden W^T, labels), without ever holding all logits: hidden [T, D], labels i32 [T]. Where a
// gradient is wanted it is computed in the same pass, for an upstream gradient of one, and scaled in backward.
Variable linear_cross_entropy(const Variable& hidden, const Head& head, const Tensor& labels);

// x + y of losses, f32 [1] each, is add(); this is factor * sum of all elements of x.
Variable sum(const Variable& x, float factor = 1.0F);

}  // namespace skymm
