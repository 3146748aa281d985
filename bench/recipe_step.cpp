#include "bench/recipe_step.hpp"

#include <map>
#include <vector>

#include "core/error.hpp"
#include "ops/models/cost.hpp"

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

Tensor indices(const std::vector<std::int32_t>& values) {
  return Tensor::from(values, {static_cast<std::int64_t>(values.size())});
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
  config.recompute = model.recompute ? Recompute::full : Recompute::none;
  return config;
}

Batch random_batch(const MultimodalConfig& config, const StepSamples& samples, DType dtype) {
  const std::int64_t visual_tokens = samples.visual_tokens, length = visual_tokens + samples.text_tokens;
  std::vector<std::int32_t> tokens, positions, offsets{0}, rows, ids, visual, row_ids;
  RandomStream random(1);
  for (std::int64_t s = 0; s < samples.count; ++s) {
    for (std::int64_t t = 0; t < length; ++t) {
      const auto row = static_cast<std::int32_t>(tokens.size());
      tokens.push_back(static_cast<std::int32_t>(random.below(static_cast<std::uint32_t>(config.decoder.vocabulary))));
      positions.push_back(static_cast<std::int32_t>(t));
      row_ids.insert(row_ids.end(), {static_cast<std::int32_t>(s), static_cast<std::int32_t>(t)});
      if (t < visual_tokens) visual.push_back(row);
      if (t + 1 >= visual_tokens && t + 1 < length) rows.push_back(row);
    }
    offsets.push_back(static_cast<std::int32_t>(tokens.size()));
  }
  for (const std::int32_t row : rows) ids.push_back(tokens[static_cast<std::size_t>(row) + 1]);
  const std::int64_t side = config.vision->image;
  std::vector<float> pixels(static_cast<std::size_t>(samples.count * 3 * side * side));
  for (float& pixel : pixels) pixel = random.normal();
  return {.tokens = indices(tokens),
          .positions = indices(positions),
          .sequence_offsets = indices(offsets),
          .max_length = length,
          .label_rows = indices(rows),
          .label_ids = indices(ids),
          .visual_rows = indices(visual),
          .pixels = Tensor::from(pixels, {samples.count, 3, side, side}).to(dtype),
          .row_ids = Tensor::from(row_ids, {static_cast<std::int64_t>(tokens.size()), 2}),
          .training = true};
}

double step_flops(const MultimodalConfig& config, const StepSamples& samples) {
  return step_cost(config, {.tokens = samples.tokens(),
                            .labels = samples.count * samples.text_tokens,
                            .images = samples.count,
                            .resampled = samples.count,
                            .mean_length = static_cast<double>(samples.visual_tokens + samples.text_tokens)})
      .total();
}

}  // namespace skymm::bench
