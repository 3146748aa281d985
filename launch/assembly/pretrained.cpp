#include "launch/assembly/pretrained.hpp"

#include <algorithm>
#include <array>
#include <functional>

#include "core/error.hpp"
#include "core/log.hpp"
#include "core/progress.hpp"
#include "io/weights/quantized.hpp"
#include "launch/assembly/adapter.hpp"
#include "ops/layers/init.hpp"

namespace skymm {
namespace {

constexpr std::size_t most_listed = 8;  // of each kind of difference

// A weight of the model, and where it is expected.
struct Expected {
  std::string name;
  std::vector<std::int64_t> shape;
  WeightPlace place = {};  // no tensor: under its own name, all rows
};
using Table = std::vector<Expected>;

Table decoder_table(const DecoderConfig& c) {
  Table table = {{"model.embed_tokens.weight", {c.vocabulary, c.width}}, {"model.norm.weight", {c.width}}};
  if (!c.tied) table.push_back({"lm_head.weight", {c.vocabulary, c.width}});
  const std::int64_t q = c.heads * c.head_width, kv = c.kv_heads * c.head_width;
  for (std::int64_t i = 0; i < c.layers; ++i) {
    const std::string layer = fmt::format("model.layers.{}.", i), attention = layer + "self_attn.";
    for (const auto& [name, out] : {std::pair{"q_proj", q}, {"k_proj", kv}, {"v_proj", kv}}) {
      table.push_back({attention + name + ".weight", {out, c.width}});
      if (c.qkv_bias) table.push_back({attention + name + ".bias", {out}});
    }
    table.push_back({attention + "o_proj.weight", {c.width, q}});
    table.push_back({layer + "mlp.gate_proj.weight", {c.ffn, c.width}});
    table.push_back({layer + "mlp.up_proj.weight", {c.ffn, c.width}});
    table.push_back({layer + "mlp.down_proj.weight", {c.width, c.ffn}});
    table.push_back({layer + "input_layernorm.weight", {c.width}});
    table.push_back({layer + "post_attention_layernorm.weight", {c.width}});
  }
  return table;
}

// OpenCLIP's names below "visual.": of a weight and of the block it is in.
struct OpenClipName {
  std::string_view ours, theirs;
};
constexpr std::array<OpenClipName, 5> open_clip_block = {{{"layer_norm1", "ln_1"},
                                                          {"layer_norm2", "ln_2"},
                                                          {"self_attn.out_proj", "attn.out_proj"},
                                                          {"mlp.fc1", "mlp.c_fc"},
                                                          {"mlp.fc2", "mlp.c_proj"}}};

void add_with_bias(Table& table, const std::string& name, const std::vector<std::int64_t>& shape,
                   const std::string& theirs) {
  const auto place = [&](const char* what) {
    return theirs.empty() ? WeightPlace{} : WeightPlace{theirs + what, 0, -1};
  };
  table.push_back({name + ".weight", shape, place(".weight")});
  table.push_back({name + ".bias", {shape.front()}, place(".bias")});
}

void add_block(Table& table, const VisionConfig& c, std::int64_t i, bool open_clip) {
  const std::string ours = fmt::format("vision_model.encoder.layers.{}.", i);
  const std::string theirs = fmt::format("visual.transformer.resblocks.{}.", i);
  const auto shape_of = [&](std::string_view name) -> std::vector<std::int64_t> {
    if (name.starts_with("layer_norm")) return {c.width};
    if (name == "mlp.fc1") return {c.ffn, c.width};
    return {c.width, name == "mlp.fc2" ? c.ffn : c.width};
  };
  for (const auto& [name, other] : open_clip_block) {
    add_with_bias(table, ours + std::string(name), shape_of(name), open_clip ? theirs + std::string(other) : "");
  }
  std::int64_t row = 0;
  for (const char* name : {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}) {
    add_with_bias(table, ours + name, {c.width, c.width}, "");
    if (open_clip) {
      table[table.size() - 2].place = {theirs + "attn.in_proj_weight", row, row + c.width};
      table.back().place = {theirs + "attn.in_proj_bias", row, row + c.width};
    }
    row += c.width;
  }
}

Table vision_table(const VisionConfig& c, bool open_clip) {
  const auto place = [&](const char* name) { return open_clip ? WeightPlace{name, 0, -1} : WeightPlace{}; };
  const std::string embeddings = "vision_model.embeddings.";
  Table table = {
      {embeddings + "patch_embedding.weight", {c.width, 3, c.patch, c.patch}, place("visual.conv1.weight")},
      {embeddings + "position_embedding.weight", {c.tokens(), c.width}, place("visual.positional_embedding")}};
  if (c.patch_bias) table.push_back({embeddings + "patch_embedding.bias", {c.width}});
  if (c.class_token) table.push_back({embeddings + "class_embedding", {c.width}, place("visual.class_embedding")});
  if (c.pre_norm) add_with_bias(table, "vision_model.pre_layrnorm", {c.width}, open_clip ? "visual.ln_pre" : "");
  for (std::int64_t i = 0; i < c.blocks(); ++i) add_block(table, c, i, open_clip);
  return table;
}

std::string listing(const std::string& what, const std::vector<std::string>& lines) {
  if (lines.empty()) return "";
  std::string text = fmt::format("\n{} {}:", lines.size(), what);
  for (std::size_t i = 0; i < std::min(lines.size(), most_listed); ++i) text += "\n  " + lines[i];
  return text + (lines.size() > most_listed ? "\n  ..." : "");
}

// known: tensors that the model has no use for, though they belong to the file.
PretrainedPart bind_table(const Table& table, std::shared_ptr<const WeightSource> source,
                          const std::function<bool(const std::string&)>& known) {
  PretrainedPart part{source, {}};
  std::vector<std::string> missing, misshaped, extra;
  std::map<std::string, bool> used;
  for (const Expected& expected : table) {
    WeightPlace place = expected.place;
    if (place.tensor.empty()) place = {expected.name, 0, -1};
    const bool part_of_it = place.end >= 0;
    used[place.tensor] = true;
    const bool quantized = has_quantized(*source, place.tensor) && !part_of_it;
    if (!source->contains(place.tensor) && !quantized) {
      missing.push_back(fmt::format("{} [{}]", place.tensor, fmt::join(expected.shape, ", ")));
      continue;
    }
    const std::vector<std::int64_t> found = weight_shape(*source, place.tensor);
    std::vector<std::int64_t> shape = expected.shape;
    if (part_of_it) shape.front() *= 3;
    if (found != shape) {
      misshaped.push_back(
          fmt::format("{} is [{}], expected [{}]", place.tensor, fmt::join(found, ", "), fmt::join(shape, ", ")));
      continue;
    }
    part.places[expected.name] = place;
  }
  for (const std::string& name : weight_names(*source)) {
    if (used.contains(name) || known(name)) continue;
    extra.push_back(fmt::format("{} [{}]", name, fmt::join(weight_shape(*source, name), ", ")));
  }
  const std::string differences = listing("tensors are missing, of the shapes", missing) +
                                  listing("tensors have other shapes", misshaped) +
                                  listing("tensors have no place in the model", extra);
  check(differences.empty(), "the weights in {} are not those of the model that its configuration describes:{}",
        source->path(), differences);
  return part;
}

const WeightFile* file_with(const std::vector<WeightFile>& files, const std::string& name) {
  const auto found = std::find_if(files.rbegin(), files.rend(), [&](const auto& file) { return file.has(name); });
  return found == files.rend() ? nullptr : &*found;
}

void read_parameter(const WeightSource& source, const std::string& name, const WeightPlace& place, Parameter& to) {
  if (has_quantized(source, place.tensor)) return load(to, read_quantized(source, place.tensor));
  const WeightEntry& entry = source.entry(place.tensor);
  std::vector<std::int64_t> shape = entry.shape;
  const std::int64_t end = place.end < 0 ? entry.rows() : place.end;
  if (!shape.empty()) shape.front() = end - place.begin;
  check(std::ranges::equal(shape, to.shape), "{}: {} has shape {}, the model needs {}", source.path(), name,
        entry.shape_text(), to.shape);
  if (to.value.defined()) {
    source.read_into(place.tensor, place.begin, end, to.value);
  } else {  // kept in few bits: only this weight is plain for a moment
    load(to, source.read_rows(place.tensor, place.begin, end));
  }
}

void check_length(const DecoderDescription& decoder, const TrainConfig& config) {
  const std::int64_t longest = config.data.max_length, window = decoder.config.window;
  check(
      window == 0 || longest <= window,
      "{} attends over a sliding window of {} tokens, which skymm does not compute; it makes no difference for samples "
      "of up to {} tokens: set data.max_length {} (it is {})",
      config.model.decoder, window, window, window, longest);
  if (decoder.max_positions > 0 && longest > decoder.max_positions) {
    log::warn("data.max_length is {}, {} was trained on sequences of up to {} tokens", longest, config.model.decoder,
              decoder.max_positions);
  }
}

}  // namespace

PretrainedPart bind_decoder(const DecoderConfig& config, std::shared_ptr<const WeightSource> source) {
  return bind_table(decoder_table(config), std::move(source), [&](const std::string& name) {
    return name.ends_with("rotary_emb.inv_freq") || (config.tied && name == "lm_head.weight");
  });
}

PretrainedPart bind_vision(const VisionDescription& vision, std::shared_ptr<const WeightSource> source) {
  const bool open_clip = vision.names == VisionNames::open_clip;
  const std::string blocks = open_clip ? "visual.transformer.resblocks." : "vision_model.encoder.layers.";
  // The text tower, the projections, what follows the block whose input comes out, and that block and its successors.
  return bind_table(vision_table(vision.config, open_clip), std::move(source), [&](const std::string& name) {
    if (!name.starts_with(open_clip ? "visual." : "vision_model.")) return true;
    if (name.starts_with(blocks)) {
      const std::string number = name.substr(blocks.size(), name.find('.', blocks.size()) - blocks.size());
      for (std::int64_t i = vision.config.blocks(); i < vision.config.layers; ++i) {
        if (number == std::to_string(i)) return true;
      }
    }
    for (const char* after : {"vision_model.post_layernorm.", "vision_model.head.", "visual.ln_post.", "visual.proj"}) {
      if (name.starts_with(after)) return true;
    }
    return name.ends_with(".position_ids");
  });
}

Pretrained open_pretrained(const TrainConfig& config, std::int64_t vocabulary) {
  const ModelConfig& m = config.model;
  Pretrained out;
  if (is_decoder_preset(m.decoder)) {
    out.decoder = decoder_preset(m.decoder);
    out.decoder.vocabulary = vocabulary;
  } else {
    const DecoderDescription decoder = describe_decoder(m.decoder);
    check_length(decoder, config);
    out.decoder = decoder.config;
    check(vocabulary <= out.decoder.vocabulary,
          "the tokenizer {} has {} tokens, {} knows {}; give the tokenizer that belongs to it", tokenizer_path(m),
          vocabulary, m.decoder, out.decoder.vocabulary);
    out.parts.push_back(bind_decoder(out.decoder, open_weights(m.decoder)));
  }
  if (m.vision == "none") return out;
  if (std::ranges::count(vision_presets(), m.vision) > 0) {
    out.vision = vision_preset(m.vision);
    out.images.size = static_cast<int>(out.vision->image);
  } else {
    const VisionDescription vision = describe_vision(m.vision);
    out.vision = vision.config;
    out.images = vision.images;
    out.parts.push_back(bind_vision(vision, open_weights(m.vision)));
  }
  return out;
}

WeightLoader::WeightLoader(std::vector<PretrainedPart> parts, const std::vector<std::string>& files, std::uint64_t seed)
    : parts_(std::move(parts)), files_(open_weight_files(files)), seed_(seed) {}

const PretrainedPart* WeightLoader::part_with(const std::string& name) const {
  const auto found = std::ranges::find_if(parts_, [&](const auto& part) { return part.places.contains(name); });
  return found == parts_.end() ? nullptr : &*found;
}

void WeightLoader::check_has(const std::vector<NamedParameter>& parameters) const {
  std::vector<std::string> missing;
  for (const auto& [name, parameter] : parameters) {
    const bool found = file_with(files_, name) != nullptr || part_with(name) != nullptr;
    if (!found && !parameter->trainable) missing.push_back(fmt::format("{} {}", name, parameter->shape.str()));
  }
  check(missing.empty(), "frozen weights are in none of the files of model.weights:{}", listing("of them", missing));
  check_resampler(parameters);
}

// One that trains may begin at random, but not while the files hold one of another kind or size.
void WeightLoader::check_resampler(const std::vector<NamedParameter>& parameters) const {
  const auto is_part = [](const std::string& name) { return name.starts_with("resampler."); };
  std::vector<std::string> unused;
  for (const auto& file : files_) {
    std::ranges::copy_if(file.names(), std::back_inserter(unused), is_part);
  }
  bool wanted = false;
  for (const auto& [name, parameter] : parameters) {
    if (!is_part(name)) continue;
    wanted = true;
    if (std::ranges::find(unused, name) != unused.end()) return;
  }
  check(unused.empty() || !wanted, "model.weights holds a resampler, but not the one of model.resampler: it has{}",
        listing("of its weights", unused));
}

bool WeightLoader::has_lora() const {
  return std::ranges::any_of(files_, [](const auto& file) { return std::ranges::any_of(file.names(), is_lora); });
}

void WeightLoader::load(const NamedParameter& entry) const {
  const auto& [name, parameter] = entry;
  if (const WeightFile* file = file_with(files_, name); file != nullptr) {
    const WeightSource& source = *file->source;
    const std::string theirs = file->prefix + name;
    read_parameter(source, name, {theirs, 0, -1}, *parameter);
  } else if (const PretrainedPart* part = part_with(name)) {
    read_parameter(*part->source, name, part->places.at(name), *parameter);
  } else {
    initialize(name, *parameter, seed_);
  }
  made_progress();
}

}  // namespace skymm
