// The recipe's training step that benchmarks time, over samples made of random numbers: frozen ViT -> Perceiver ->
// frozen decoder with LoRA of rank 16 on all linear layers.
#pragma once

#include <optional>
#include <string>

#include "bench/synthetic.hpp"
#include "ops/models/cost.hpp"
#include "ops/models/multimodal.hpp"

namespace skymm::bench {

struct StepModel {
  std::string decoder = "smollm2-135m", vision = "vit-b16";  // presets
  std::string format = "dtype";                              // of frozen weights, by parse_format
  std::string packing = "both";                              // none, forward or both
  std::string recompute = "none";                            // none, attention+mlp or full
};

// Samples of visual tokens, then text; every text token is predicted.
struct StepSamples {
  std::int64_t count = 4, visual_tokens = 64, text_tokens = 64;
  BatchShape shape() const { return {count, text_tokens, text_tokens}; }
  std::int64_t tokens() const { return count * (visual_tokens + text_tokens); }
};

// dtype (none), int8, nf4 or nf4-double. Throws Error that lists them.
std::optional<Quantization> parse_format(const std::string& name);
Packing parse_packing(const std::string& name);

MultimodalConfig step_config(const StepModel& model, std::int64_t queries);
// Useful floating-point operations of the step; recomputation is none.
double step_flops(const MultimodalConfig& config, const StepSamples& samples);
// The most bytes of activations at once, as skymm plan computes them; the ViT's features are taken for given.
double step_activations(const MultimodalConfig& config, const StepSamples& samples, const ComputeForm& form);

}  // namespace skymm::bench
