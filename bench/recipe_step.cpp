#include "bench/recipe_step.hpp"

#include <algorithm>
#include <map>

#include "core/error.hpp"

namespace skymm::bench {
namespace {

template <class T>
T choose(const std::map<std::string, T>& choices, const std::string& what, const std::string& name) {
  const auto found = choices.find(name);
  std::string names;
  for (const auto& [known, value] : choices) names += " " + known;
  check(found != choices.end(), "--{} {} is unknown; there are:{}", what, name, names);
  return found->second;
}

}  // namespace

std::optional<Quantization> parse_format(const std::string& name) {
  return choose<std::optional<Quantization>>({{"dtype", std::nullopt},
                                              {"int8", Quantization{QuantizedFormat::int8, false}},
                                              {"nf4", Quantization{QuantizedFormat::nf4, false}},
                                              {"nf4-double", Quantization{QuantizedFormat::nf4, true}}},
                                             "format", name);
}

Packing parse_packing(const std::string& name) {
  return choose<Packing>({{"none", Packing::none}, {"forward", Packing::forward}, {"both", Packing::both}}, "packing",
                         name);
}

MultimodalConfig step_config(const StepModel& model, std::int64_t queries) {
  MultimodalConfig config;
  config.vision = vision_preset(model.vision);
  config.decoder = decoder_preset(model.decoder);
  config.resampler = {.kind = ResamplerKind::perceiver,
                      .queries = queries,
                      .heads = config.vision->width / 64,
                      .head_width = 64,
                      .depth = 2};
  config.lora = {.rank = 16, .alpha = 32};
  config.packing = parse_packing(model.packing);
  config.quantization = parse_format(model.format);
  config.recompute = parse_recompute(model.recompute);
  return config;
}

namespace {

StepCounts counts_of(const StepSamples& samples) {
  return {.tokens = samples.tokens(),
          .labels = samples.count * samples.text_tokens,
          .images = samples.count,
          .resampled = samples.count,
          .mean_length = static_cast<double>(samples.visual_tokens + samples.text_tokens)};
}

}  // namespace

double step_flops(const MultimodalConfig& config, const StepSamples& samples) {
  return step_cost(config, counts_of(samples)).total();
}

double step_activations(const MultimodalConfig& config, const StepSamples& samples, const ComputeForm& form) {
  const std::int64_t first = first_block(config, BlockKind::resampler);
  const BlockCost cost = piece_cost(block_costs(config, counts_of(samples), form), {first, all_blocks(config).end});
  return cost.kept + std::max(cost.forward_peak, cost.backward_peak);
}

}  // namespace skymm::bench
