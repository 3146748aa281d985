#include "launch/assembly/weight_file.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>
#include <set>

#include "core/error.hpp"
#include "core/log.hpp"
#include "io/json.hpp"
#include "io/weights/quantized.hpp"
#include "launch/assembly/adapter.hpp"
#include "ops/kernels/kernels.hpp"

namespace skymm {
namespace {

namespace fs = std::filesystem;

// The linear layers of a decoder, all of which get LoRA unless model.lora_targets says which.
constexpr std::array<std::string_view, 7> linear_layers{"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                                        "gate_proj", "up_proj", "down_proj"};

std::string text_of(double alpha) { return fmt::format("{}", static_cast<float>(alpha)); }

std::string text_of(const std::set<std::string>& targets) { return fmt::format("{}", fmt::join(targets, ",")); }

// "model.layers.3.self_attn.q_proj.lora_A.weight" -> "q_proj".
std::string target_of(const std::string& name) {
  const std::string layer = name.substr(0, name.rfind(".lora_"));
  return layer.substr(layer.rfind('.') + 1);
}

// Of a file by PEFT's names: what stands beside it.
void read_adapter_settings(WeightFile& file, const std::string& folder) {
  const std::string& path = file.source->path();
  check(fs::exists(folder + "/adapter_config.json"),
        "{} is an adapter of PEFT's, but adapter_config.json, which tells its strength, is not beside it", path);
  for (const WeightEntry& entry : file.source->entries()) {
    check(entry.name.starts_with(peft_prefix), "{}: the name '{}' does not begin with {}", path, entry.name,
          peft_prefix);
  }
  file.prefix = peft_prefix;
  const Adapter adapter = read_adapter_config(folder);
  std::set<std::string> targets;
  for (const std::string& name : file.names()) {
    check(is_lora(name), "{}: '{}' is no matrix of LoRA", path, name);
    targets.insert(target_of(name));
  }
  file.settings = {{"model.lora_rank", fmt::format("{}", adapter.rank)},
                   {"model.lora_alpha", text_of(adapter.alpha)},
                   {"model.rslora", adapter.rank_stabilized ? "true" : "false"},
                   {"model.lora_targets", text_of(targets)}};
}

// As `skymm weights export` writes it.
void read_resampler_settings(WeightFile& file, const std::string& path) {
  const nlohmann::json config = read_json(path);
  const auto take = [&](const char* key, const char* option) {
    if (!config.contains(key)) return;
    file.settings[option] = config[key].is_string() ? config[key].get<std::string>() : config[key].dump();
  };
  take("resampler", "model.resampler");
  take("queries", "model.queries");
  take("depth", "model.resampler_depth");
  take("positions", "model.resampler_positions");
}

WeightFile open_file(const std::string& path) {
  WeightFile file{.source = open_weights(path)};
  const fs::path parent = fs::path(file.source->path()).parent_path();
  const std::string folder = parent.empty() ? "." : parent.string();
  const bool peft = std::ranges::any_of(file.source->entries(),
                                        [](const WeightEntry& entry) { return entry.name.starts_with(peft_prefix); });
  const std::string resampler = folder + "/resampler_config.json";
  if (peft) read_adapter_settings(file, folder);
  if (path.ends_with("resampler.safetensors") && fs::exists(resampler)) read_resampler_settings(file, resampler);
  for (const auto& [key, value] : file.source->metadata()) {
    if (key.starts_with("model.")) file.settings[key] = value;
    if (key.starts_with("frozen.")) file.frozen[key] = value;
  }
  return file;
}

// Which of the settings a kind of weights depends on.
bool concerns(const std::string& option, bool lora) {
  return lora == (option.starts_with("model.lora") || option == "model.rslora");
}

void compare(const WeightFile& file, const std::map<std::string, std::string>& own, bool lora) {
  std::string differences;
  for (const auto& [option, value] : own) {
    const auto theirs = file.settings.find(option);
    if (!concerns(option, lora) || theirs == file.settings.end() || theirs->second == value) continue;
    differences += fmt::format("\n  {} {}, here {}", option, theirs->second, value);
  }
  check(differences.empty(),
        "{} in model.weights was trained with other settings than this run has, and would not compute what it did; "
        "give the run those of {}:{}",
        lora ? "LoRA" : "the resampler", file.source->path(), differences);
}

enum class Sameness : std::uint8_t { unknown, same, other_linear_weights, another_model };

// Of a part, "decoder" or "vision", of the run and of what a file was trained on.
Sameness compare_frozen(const WeightFile& file, const FrozenParts& own, const std::string& part) {
  const auto differs = [&](const std::string& key) -> std::optional<bool> {
    const auto theirs = file.frozen.find(key), ours = own.find(key);
    if (theirs == file.frozen.end() || ours == own.end()) return std::nullopt;
    return theirs->second != ours->second;
  };
  const std::string whole = "frozen." + part;
  const std::optional<bool> other = differs(whole + ".unquantized");
  if (!other || differs("frozen.dtype").value_or(true)) return Sameness::unknown;
  if (*other) return Sameness::another_model;
  return differs(whole).value_or(false) ? Sameness::other_linear_weights : Sameness::same;
}

bool holds_lora(const WeightFile& file) { return std::ranges::any_of(file.names(), is_lora); }

bool holds_resampler(const WeightFile& file) {
  return std::ranges::any_of(file.names(), [](const std::string& name) { return name.starts_with("resampler."); });
}

void check_lora_has_place(const WeightFile& file, const ModelConfig& model, std::int64_t layers) {
  const std::vector<std::string>& some = model.lora_targets;
  std::set<std::string> known;
  for (std::int64_t i = 0; i < layers; ++i) {
    for (const std::string_view target : linear_layers) {
      if (!some.empty() && std::ranges::find(some, target) == some.end()) continue;
      const char* block = target == "gate_proj" || target == "up_proj" || target == "down_proj" ? "mlp" : "self_attn";
      for (const char* matrix : {"lora_A", "lora_B"}) {
        known.insert(fmt::format("model.layers.{}.{}.{}.{}.weight", i, block, target, matrix));
      }
    }
  }
  for (const std::string& name : file.names()) {
    check(!is_lora(name) || known.contains(name),
          "{} holds {}, for which the run has no layer: see model.lora_targets, and whether model.decoder is the LLM "
          "that it was trained on",
          file.source->path(), name);
  }
}

}  // namespace

bool WeightFile::has(const std::string& name) const {
  return source->contains(prefix + name) || has_quantized(*source, prefix + name);
}

std::vector<std::string> WeightFile::names() const {
  std::vector<std::string> names;
  for (const WeightEntry& entry : source->entries()) names.push_back(entry.name.substr(prefix.size()));
  return names;
}

std::vector<WeightFile> open_weight_files(const std::vector<std::string>& paths) {
  std::vector<WeightFile> files;
  for (const std::string& path : paths) {
    const std::size_t before = files.size();
    for (const char* name : {"adapter_model.safetensors", "resampler.safetensors"}) {
      const fs::path part = fs::path(path) / name;
      if (fs::is_directory(path) && fs::exists(part)) files.push_back(open_file(part.string()));
    }
    if (files.size() == before) files.push_back(open_file(path));
  }
  return files;
}

Tensor read_weight(const WeightSource& file, const std::string& name) {
  if (!has_quantized(file, name)) return file.read(name);
  const QuantizedTensor codes = read_quantized(file, name);
  const Tensor plain = Tensor::empty(codes.shape, DType::f32);
  kernels(plain).dequantize(codes, plain);
  return plain;
}

std::map<std::string, std::string> trained_settings(const ModelConfig& model) {
  std::set<std::string> targets(model.lora_targets.begin(), model.lora_targets.end());
  if (targets.empty()) targets.insert(linear_layers.begin(), linear_layers.end());
  std::map<std::string, std::string> settings = {{"model.lora_rank", fmt::format("{}", model.lora_rank)},
                                                 {"model.lora_alpha", text_of(model.lora_alpha)},
                                                 {"model.rslora", model.rslora ? "true" : "false"},
                                                 {"model.lora_targets", text_of(targets)},
                                                 {"model.resampler", model.resampler}};
  const ResamplerKind kind = parse_resampler(model.resampler);  // the others have no queries, or no layers
  const bool layered = kind == ResamplerKind::perceiver || kind == ResamplerKind::qformer;
  if (layered || kind == ResamplerKind::qwen) settings["model.queries"] = fmt::format("{}", model.queries);
  if (kind == ResamplerKind::qwen) settings["model.resampler_positions"] = model.resampler_positions ? "true" : "false";
  if (layered) settings["model.resampler_depth"] = fmt::format("{}", model.resampler_depth);
  return settings;
}

void check_settings(const std::vector<WeightFile>& files, const ModelConfig& model, std::int64_t decoder_layers) {
  const std::map<std::string, std::string> own = trained_settings(model);
  for (const WeightFile& file : files) {
    if (holds_lora(file)) {
      compare(file, own, true);
      check_lora_has_place(file, model, decoder_layers);
    }
    if (holds_resampler(file) && model.vision != "none") compare(file, own, false);
  }
}

void check_frozen(const std::vector<WeightFile>& files, const FrozenParts& own) {
  for (const WeightFile& file : files) {
    const bool lora = holds_lora(file), resampler = holds_resampler(file);
    for (const std::string part : {"decoder", "vision"}) {
      const bool needs = part == "decoder" ? lora : resampler;  // computes the same on no other
      if (!needs && !resampler) continue;
      const Sameness sameness = compare_frozen(file, own, part);
      const char* option = part == "decoder" ? "model.decoder" : "model.vision";
      const std::string& path = file.source->path();
      check(
          !needs || sameness != Sameness::another_model,
          "{} was trained on another frozen {} model than this run has: give that one by {} or model.weights, or leave "
          "the file out",
          path, part, option);
      if (sameness == Sameness::another_model) {
        log::warn("the resampler in {} was trained with another frozen decoder than this run has", path);
      }
      if (sameness == Sameness::other_linear_weights) {
        log::warn(
            "{} was trained on a frozen {} whose linear weights were others: right where they are quantised in "
            "another way, or where LoRA was merged into them that is not loaded again",
            path, part);
      }
    }
  }
}

bool is_block_linear(const std::string& name, int rank) {
  const bool in_block = name.find(".layers.") != std::string::npos || name.ends_with("patch_embedding.weight");
  return in_block && rank >= 2 && name.ends_with(".weight") && !name.starts_with("resampler") && !is_lora(name);
}

}  // namespace skymm
