#include "launch/assembly/assembly.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

#include "core/error.hpp"
#include "core/log.hpp"
#include "io/hash.hpp"
#include "launch/assembly/chat_form.hpp"
#include "launch/assembly/pretrained.hpp"
#include "parallel/communicator.hpp"
#include "parallel/gather_text.hpp"

namespace skymm {
namespace {

// A hash of the frozen weights in the order of names, and one of those alone that no format quantises.
struct PartHash {
  Hash64 all, unquantized;
};

// frozen: name -> its hash; linear: those that a format may quantise.
FrozenParts frozen_parts(const std::map<std::string, std::uint64_t>& frozen, const std::set<std::string>& linear,
                         DType dtype) {
  std::map<std::string, PartHash> parts;
  for (const auto& [name, hash] : frozen) {
    if (name.starts_with("resampler.")) continue;
    PartHash& part = parts[name.starts_with("vision_model.") ? "frozen.vision" : "frozen.decoder"];
    part.all.add_value(hash);
    if (!linear.contains(name)) part.unquantized.add_value(hash);
  }
  FrozenParts text = {{"frozen.dtype", std::string(name_of(dtype))}};
  for (const auto& [name, part] : parts) {
    text[name] = fmt::format("{:016x}", part.all.digest());
    text[name + ".unquantized"] = fmt::format("{:016x}", part.unquantized.digest());
  }
  return text;
}

// Fills in what is known of the whole model: each rank of the pipeline tells of what it holds.
void describe_whole(Assembly& assembly, const LoadedModel& loaded, Communicator& pipeline) {
  std::string mine;
  for (const NamedParameter& entry : all_parameters(*assembly.model)) {
    const Parameter& p = *entry.parameter;
    const std::uint64_t hash = p.trainable ? 0 : loaded.frozen.at(entry.name);
    const bool linear = is_block_linear(entry.name, p.shape.rank());
    mine += fmt::format("{} {} {} {} {}\n", entry.name, p.shape.numel(), p.trainable ? 1 : 0, linear ? 1 : 0, hash);
  }
  std::vector<TableEntry> entries;
  std::map<std::string, std::uint64_t> frozen;
  std::set<std::string> seen, quantizable;  // seen: a tied table may be held twice
  for (const std::string& text : gather_text(pipeline, mine)) {
    std::istringstream lines(text);
    TableEntry entry;
    bool linear = false;
    for (std::uint64_t hash = 0; lines >> entry.name >> entry.size >> entry.trainable >> linear >> hash;) {
      if (!seen.insert(entry.name).second) continue;
      entries.push_back(entry);
      if (!entry.trainable) frozen[entry.name] = hash;
      if (linear) quantizable.insert(entry.name);
    }
  }
  assembly.table = trainable_table(entries);
  Hash64 whole, vision;
  for (const auto& [name, hash] : frozen) {  // which holds the name
    whole.add_value(hash);
    if (name.starts_with("vision_model.")) vision.add_value(hash);
  }
  assembly.frozen_hash = whole.digest();
  assembly.vision_hash = vision.digest();
  assembly.frozen_parts = frozen_parts(frozen, quantizable, assembly.model->dtype());
}

MultimodalConfig model_config(const TrainConfig& config, const Pretrained& pretrained) {
  const auto& m = config.model;
  MultimodalConfig model;
  model.vision = pretrained.vision;
  model.resampler.kind = parse_resampler(m.resampler);
  model.resampler.queries = m.queries;
  model.resampler.depth = m.resampler_depth;
  model.resampler.positions = m.resampler_positions;
  model.decoder = pretrained.decoder;
  model.lora = {m.lora_rank, m.lora_alpha, m.lora_dropout, m.rslora, m.lora_targets};
  const auto trains = [&](std::string_view part) { return std::ranges::find(m.train, part) != m.train.end(); };
  model.trainable = {trains("vision"), trains("resampler"), trains("decoder")};
  model.recompute = recompute_modes(m).front();
  model.features = config.data.features;
  if (!trains("lora")) model.lora.rank = 0;
  if (m.frozen_format == "int8") model.quantization = Quantization{QuantizedFormat::int8, false};
  if (m.frozen_format == "nf4") model.quantization = Quantization{QuantizedFormat::nf4, m.double_quantization};
  return model;
}

}  // namespace

MultimodalConfig model_config(const TrainConfig& config, std::int64_t vocabulary) {
  return model_config(config, open_pretrained(config, vocabulary));
}

PromptBuilder Assembly::prompts(const TrainConfig& config) const {
  return {tokenizer,
          chat_template(chat_form(config)),
          {.visual_tokens = static_cast<int>(visual_tokens),
           .max_tokens = config.data.max_length,
           .cut_answers = config.train.objective == "text"}};
}

Assembly assemble(const TrainConfig& config) {
  SingleCommunicator alone;
  return assemble(config, alone);
}

Assembly assemble(const TrainConfig& config, Communicator& replicas) {
  SingleCommunicator pipeline;
  TrainConfig seeing = config;
  seeing.data.features = false;
  seeing.parallel.shard_frozen = false;  // who does not train has no schedule to gather by
  const std::shared_ptr<const Tokenizer> tokenizer = load_tokenizer(tokenizer_path(config.model));
  return assemble(seeing, tokenizer, {all_blocks(model_config(seeing, tokenizer->vocab_size()))}, pipeline, replicas);
}

Assembly assemble(const TrainConfig& config, std::shared_ptr<const Tokenizer> tokenizer,
                  const std::vector<BlockRange>& pieces, Communicator& pipeline, Communicator& replicas) {
  Assembly assembly;
  const Pretrained pretrained = open_pretrained(config, tokenizer->vocab_size());
  MultimodalConfig model = model_config(config, pretrained);
  const std::vector<Recompute> recompute = recompute_modes(config.model);
  if (recompute.size() > 1) model.recompute = recompute.at(static_cast<std::size_t>(pipeline.rank()));
  assembly.tokenizer = std::move(tokenizer);
  assembly.images = pretrained.images;
  assembly.images.fast_jpeg = config.data.fast_jpeg;
  if (config.data.chat_template == "auto") log::info("chat template: {} (data.chat_template auto)", chat_form(config));
  if (model.vision) assembly.visual_tokens = model.resampler.tokens(*model.vision);
  const PurposeScope purpose(Purpose::weights);
  assembly.model = std::make_unique<Multimodal>(model, parse_dtype(config.model.dtype), device_of(config.run), pieces);
  const WeightLoader weights(pretrained.parts, config.model.weights, config.run.seed);
  check(model.lora.rank > 0 || !weights.has_lora(),
        "model.weights holds LoRA, which model.train leaves out: add lora to model.train, or merge it into the decoder "
        "(skymm weights merge)");
  check_settings(weights.files(), config.model, model.decoder.layers);
  if (config.parallel.shard_frozen && replicas.size() > 1) {
    assembly.shards = std::make_unique<FrozenShards>(replicas, config.parallel.overlap);
  }
  const LoadedModel loaded =
      load_and_freeze(*assembly.model, weights, replicas, config.run.share_frozen == "auto", assembly.shards.get());
  assembly.shared = loaded.shared;
  for (const PretrainedPart& part : pretrained.parts) {
    for (const std::string& file : part.source->files()) assembly.files.push_back(file);
  }
  for (const WeightFile& file : weights.files()) {
    for (const std::string& path : file.source->files()) assembly.files.push_back(path);
  }
  describe_whole(assembly, loaded, pipeline);
  check_frozen(weights.files(), assembly.frozen_parts);
  if (model.features) assembly.model->drop_vision();
  return assembly;
}

}  // namespace skymm
