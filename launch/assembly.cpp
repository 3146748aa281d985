#include "launch/assembly.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "core/log.hpp"
#include "io/hash.hpp"
#include "launch/pretrained.hpp"

namespace skymm {
namespace {

MultimodalConfig model_config(const TrainConfig& config, const Pretrained& pretrained) {
  const auto& m = config.model;
  MultimodalConfig model;
  model.vision = pretrained.vision;
  model.resampler.kind = parse_resampler(m.resampler);
  model.resampler.queries = m.queries;
  model.resampler.depth = m.resampler_depth;
  model.decoder = pretrained.decoder;
  model.lora = {m.lora_rank, m.lora_alpha, m.lora_dropout, m.rslora, m.lora_targets};
  const auto trains = [&](std::string_view part) { return std::ranges::find(m.train, part) != m.train.end(); };
  model.trainable = {trains("vision"), trains("resampler"), trains("decoder")};
  model.recompute = m.recompute == "full" ? Recompute::full : Recompute::none;
  if (!trains("lora")) model.lora.rank = 0;
  return model;
}

}  // namespace

MultimodalConfig model_config(const TrainConfig& config, std::int64_t vocabulary) {
  return model_config(config, open_pretrained(config, vocabulary));
}

PromptBuilder Assembly::prompts(const TrainConfig& config) const {
  return {tokenizer,
          chat_template(config.data.chat_template),
          {.visual_tokens = static_cast<int>(visual_tokens), .max_tokens = config.data.max_length}};
}

Assembly assemble(const TrainConfig& config) {
  Assembly assembly;
  assembly.tokenizer = load_tokenizer(tokenizer_path(config.model));
  const Pretrained pretrained = open_pretrained(config, assembly.tokenizer->vocab_size());
  const MultimodalConfig model = model_config(config, pretrained);
  assembly.images = pretrained.images;
  assembly.images.fast_jpeg = config.data.fast_jpeg;
  {
    const PurposeScope purpose(Purpose::weights);
    assembly.model = std::make_unique<Multimodal>(model, parse_dtype(config.model.dtype), cpu());
    load_weights(*assembly.model, pretrained.parts, config.model.weights, config.run.seed);
  }
  if (model.vision) assembly.visual_tokens = model.resampler.tokens(*model.vision);
  NamedTensors frozen;
  for (const NamedParameter& entry : all_parameters(*assembly.model)) {
    if (!entry.parameter->trainable) frozen.emplace_back(entry.name, entry.parameter->value);
  }
  assembly.frozen_hash = content_hash(frozen);
  const PurposeScope purpose(Purpose::weights);
  assembly.model->freeze();
  return assembly;
}

}  // namespace skymm
