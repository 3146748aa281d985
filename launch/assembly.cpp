#include "launch/assembly.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "core/log.hpp"
#include "io/hash.hpp"
#include "io/weights/quantized.hpp"

namespace skymm {
namespace {

// Each weight from the last file that has it, by name, or at random where it trains. One after the other: a frozen
// weight that is kept in few bits is never beside the next as it was read.
void load_weights(Module& model, const std::vector<std::string>& paths, std::uint64_t seed) {
  std::vector<SafetensorsReader> files;
  for (const std::string& path : paths) files.emplace_back(path);
  std::string missing;
  int missing_count = 0;
  for (const NamedParameter& entry : all_parameters(model)) {
    const auto file = std::find_if(files.rbegin(), files.rend(), [&](const auto& f) {
      return f.contains(entry.name) || has_quantized(f, entry.name);
    });
    if (file == files.rend()) {
      if (!entry.parameter->trainable && ++missing_count <= 8) missing += "\n  " + entry.name;
      if (entry.parameter->trainable) initialize(entry.name, *entry.parameter, seed);
      continue;
    }
    if (!file->contains(entry.name)) {
      load(*entry.parameter, read_quantized(*file, entry.name));
      continue;
    }
    const Tensor value = file->read(entry.name);
    check(value.shape() == entry.parameter->shape, "{}: {} has shape {}, the model needs {}", file->path(), entry.name,
          value.shape().str(), entry.parameter->shape.str());
    load(*entry.parameter, value);
  }
  check(missing_count == 0, "{} frozen weights are in none of the files of model.weights, the first of them:{}",
        missing_count, missing);
}

}  // namespace

MultimodalConfig model_config(const TrainConfig& config, std::int64_t vocabulary) {
  const auto& m = config.model;
  MultimodalConfig model;
  if (m.vision != "none") model.vision = vision_preset(m.vision);
  model.resampler.kind = parse_resampler(m.resampler);
  model.resampler.queries = m.queries;
  model.resampler.depth = m.resampler_depth;
  model.decoder = decoder_preset(m.decoder);
  model.decoder.vocabulary = vocabulary;
  model.lora = {m.lora_rank, m.lora_alpha, m.lora_dropout, m.rslora, m.lora_targets};
  const auto trains = [&](std::string_view part) { return std::ranges::find(m.train, part) != m.train.end(); };
  model.trainable = {trains("vision"), trains("resampler"), trains("decoder")};
  model.recompute = m.recompute == "full" ? Recompute::full : Recompute::none;
  if (!trains("lora")) model.lora.rank = 0;
  if (m.frozen_format == "int8") model.quantization = Quantization{QuantizedFormat::int8, false};
  if (m.frozen_format == "nf4") model.quantization = Quantization{QuantizedFormat::nf4, m.double_quantization};
  return model;
}

PromptBuilder Assembly::prompts(const TrainConfig& config) const {
  return {tokenizer,
          chat_template(config.data.chat_template),
          {.visual_tokens = static_cast<int>(visual_tokens), .max_tokens = config.data.max_length}};
}

Assembly assemble(const TrainConfig& config) {
  Assembly assembly;
  assembly.tokenizer = load_tokenizer(config.model.tokenizer);
  const MultimodalConfig model = model_config(config, assembly.tokenizer->vocab_size());
  {
    const PurposeScope purpose(Purpose::weights);
    assembly.model = std::make_unique<Multimodal>(model, parse_dtype(config.model.dtype), cpu());
    load_weights(*assembly.model, config.model.weights, config.run.seed);
  }
  if (model.vision) {
    assembly.images.size = static_cast<int>(model.vision->image);
    assembly.visual_tokens = model.resampler.tokens(*model.vision);
  }
  NamedTensors frozen;
  for (const NamedParameter& entry : all_parameters(*assembly.model)) {
    if (entry.parameter->trainable) continue;
    for (auto& tensor : stored_tensors(entry.name, *entry.parameter)) frozen.push_back(std::move(tensor));
  }
  assembly.frozen_hash = content_hash(frozen);
  const PurposeScope purpose(Purpose::weights);
  assembly.model->freeze();
  return assembly;
}

}  // namespace skymm
