// How much useful work a training step is, for the progress line and for plans. Multiply-adds count as two. Frozen
// linear layers take 4 a weight and token (forward, and the gradient of the activations), trained ones 6; a frozen part
// without anything trained before it has no backward; recomputation is not useful work.
#pragma once

#include "ops/models/config.hpp"

namespace skymm {

struct StepCounts {
  std::int64_t tokens = 0;     // of all sequences, visual ones too
  std::int64_t labels = 0;     // rows that the head sees
  std::int64_t images = 0;     // that run through the ViT (0 where features are cached) ...
  std::int64_t resampled = 0;  // ... and through the resampler
  double mean_length = 0;      // of a sequence, weighted by tokens: for attention
};

struct StepCost {
  double vision = 0, resampler = 0, decoder = 0, head = 0;  // floating-point operations
  double total() const { return vision + resampler + decoder + head; }
};

StepCost step_cost(const MultimodalConfig& config, const StepCounts& counts);

}  // namespace skymm
