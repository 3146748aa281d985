#include "launch/assembly.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

#include "core/error.hpp"
#include "io/hash.hpp"
#include "io/weights/safetensors.hpp"
#include "parallel/communicator.hpp"
#include "parallel/gather_text.hpp"

namespace skymm {
namespace {

// Copies what the files have, by name. Later files win.
void load_weights(Module& model, const std::vector<std::string>& paths) {
  std::vector<SafetensorsReader> files;
  for (const std::string& path : paths) files.emplace_back(path);
  std::string missing;
  int missing_count = 0;
  for (const NamedParameter& entry : all_parameters(model)) {
    const auto file = std::find_if(files.rbegin(), files.rend(), [&](const auto& f) { return f.contains(entry.name); });
    if (file == files.rend()) {
      if (!entry.parameter->trainable && ++missing_count <= 8) missing += "\n  " + entry.name;
      continue;
    }
    const Tensor value = file->read(entry.name);
    check(value.shape() == entry.parameter->shape, "{}: {} has shape {}, the model needs {}", file->path(), entry.name,
          value.shape().str(), entry.parameter->shape.str());
    entry.parameter->value.copy_from(value);
  }
  check(missing_count == 0, "{} frozen weights are in none of the files of model.weights, the first of them:{}",
        missing_count, missing);
}

// Fills in what is known of the whole model: each rank of the pipeline tells of what it holds.
void describe_whole(Assembly& assembly, Communicator& pipeline) {
  std::string mine;
  for (const NamedParameter& entry : all_parameters(*assembly.model)) {
    const Parameter& p = *entry.parameter;
    const std::uint64_t hash = p.trainable ? 0 : content_hash({{entry.name, p.value}});
    mine += fmt::format("{} {} {} {}\n", entry.name, p.shape.numel(), p.trainable ? 1 : 0, hash);
  }
  std::vector<TableEntry> entries;
  std::map<std::string, std::uint64_t> frozen;
  std::set<std::string> seen;  // a tied table may be held twice
  for (const std::string& text : gather_text(pipeline, mine)) {
    std::istringstream lines(text);
    TableEntry entry;
    for (std::uint64_t hash = 0; lines >> entry.name >> entry.size >> entry.trainable >> hash;) {
      if (!seen.insert(entry.name).second) continue;
      entries.push_back(entry);
      if (!entry.trainable) frozen[entry.name] = hash;
    }
  }
  assembly.table = trainable_table(entries);
  Hash64 whole;
  for (const auto& [name, hash] : frozen) whole.add_value(hash);  // which holds the name
  assembly.frozen_hash = whole.digest();
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
  return model;
}

PromptBuilder Assembly::prompts(const TrainConfig& config) const {
  return {tokenizer,
          chat_template(config.data.chat_template),
          {.visual_tokens = static_cast<int>(visual_tokens), .max_tokens = config.data.max_length}};
}

Assembly assemble(const TrainConfig& config) {
  SingleCommunicator alone;
  const std::shared_ptr<const Tokenizer> tokenizer = load_tokenizer(config.model.tokenizer);
  return assemble(config, tokenizer, {all_blocks(model_config(config, tokenizer->vocab_size()))}, alone);
}

Assembly assemble(const TrainConfig& config, std::shared_ptr<const Tokenizer> tokenizer,
                  const std::vector<BlockRange>& pieces, Communicator& pipeline) {
  Assembly assembly;
  const MultimodalConfig model = model_config(config, tokenizer->vocab_size());
  assembly.tokenizer = std::move(tokenizer);
  if (model.vision) {
    assembly.images.size = static_cast<int>(model.vision->image);
    assembly.visual_tokens = model.resampler.tokens(*model.vision);
  }
  const PurposeScope purpose(Purpose::weights);
  assembly.model = std::make_unique<Multimodal>(model, parse_dtype(config.model.dtype), cpu(), pieces);
  initialize(*assembly.model, config.run.seed);
  load_weights(*assembly.model, config.model.weights);
  describe_whole(assembly, pipeline);
  assembly.model->freeze();
  return assembly;
}

}  // namespace skymm
