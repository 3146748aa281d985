#include "launch/assembly/adapter.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "core/error.hpp"
#include "io/checkpoint_folder.hpp"
#include "io/file.hpp"
#include "io/json.hpp"
#include "io/weights/quantized.hpp"
#include "launch/assembly/weight_file.hpp"
#include "ops/kernels/kernels.hpp"

namespace skymm {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* index_name = "model.safetensors.index.json";
constexpr std::string_view a_end = ".lora_A.weight", b_end = ".lora_B.weight";

// "model.layers.0.self_attn.q_proj" of the weights and matrices of that layer.
std::string layer_of(const std::string& name) { return name.substr(0, name.size() - a_end.size()); }

// "q_proj".
std::string target_of(const std::string& name) {
  const std::string layer = layer_of(name);
  return layer.substr(layer.rfind('.') + 1);
}

NamedTensors read_tensors(const std::string& file) {
  NamedTensors tensors;
  if (file.ends_with(".h5")) {
    const CheckpointFile checkpoint(file);
    for (std::size_t i = 0; i < checkpoint.tensors().size(); ++i) {
      const StoredTensor& tensor = checkpoint.tensors()[i];
      tensors.emplace_back(tensor.name, Tensor::from(checkpoint.read_whole(i, 0), tensor.shape));
    }
    return tensors;
  }
  const std::unique_ptr<WeightSource> source = open_weights(file);
  for (const WeightEntry& entry : source->entries()) tensors.emplace_back(entry.name, source->read(entry.name));
  return tensors;
}

// Every A has its B, and both the adapter's rank.
void check_pairs(const Adapter& adapter, const std::string& where) {
  std::map<std::string, std::pair<Tensor, Tensor>> layers;
  for (const auto& [name, x] : adapter.tensors) {
    check(is_lora(name) && x.rank() == 2, "{}: '{}' {} is no matrix of LoRA", where, name, x.shape());
    auto& [a, b] = layers[layer_of(name)];
    (name.ends_with(a_end) ? a : b) = x;
  }
  for (const auto& [layer, pair] : layers) {
    const auto& [a, b] = pair;
    check(a.defined() && b.defined(), "{}: '{}' has only one of lora_A and lora_B", where, layer);
    check(a.dim(0) == adapter.rank && b.dim(1) == adapter.rank, "{}: '{}' has lora_A {} and lora_B {}, the rank is {}",
          where, layer, a.shape(), b.shape(), adapter.rank);
  }
}

bool is_empty(const json& value) {
  return value.is_null() || value == false || (value.is_structured() && value.empty());
}

// base + scaling B A of one layer.
Tensor add_term(const Tensor& weight, const Tensor& a, const Tensor& b, double scaling, const std::string& name) {
  check(weight.rank() == 2 && weight.dim(0) == b.dim(0) && weight.dim(1) == a.dim(1),
        "the adapter's {} has lora_A {} and lora_B {}, the weight is {}: it belongs to another model", name, a.shape(),
        b.shape(), weight.shape());
  const Tensor sum = weight.dtype() == DType::f32 ? weight : weight.to(DType::f32);
  kernels(sum).gemm(b.to(DType::f32), a.to(DType::f32), sum,
                    {.accumulate = true, .alpha = static_cast<float>(scaling)});
  return sum;
}

// Some files store what follows from the configuration.
bool is_derived(const std::string& name) {
  return name.ends_with("rotary_emb.inv_freq") || name.ends_with(".position_ids");
}

DType merged_dtype(const WeightSource& base, const std::string& name) {
  if (has_quantized(base, name)) return DType::bf16;
  const std::string& dtype = base.entry(name).dtype;
  if (dtype == "F32") return DType::f32;
  return dtype == "F16" ? DType::f16 : DType::bf16;
}

Shape shape_of(const WeightSource& base, const std::string& name) {
  Shape shape;
  for (const std::int64_t dim : weight_shape(base, name)) shape.push_back(dim);
  return shape;
}

}  // namespace

bool is_lora(const std::string& name) { return name.ends_with(a_end) || name.ends_with(b_end); }

double Adapter::scaling() const {
  const auto r = static_cast<double>(rank);
  return alpha / (rank_stabilized ? std::sqrt(r) : r);
}

TrainedRun read_trained(const std::string& run_dir, const std::string& file) {
  const std::string config = run_dir + "/config.ini", trained = run_dir + "/trained.safetensors";
  check(fs::exists(config), "{} is no run directory: it has no config.ini; skymm train makes one", run_dir);
  TrainedRun run{.config = *parse_config({"--config", config}), .file = file};
  if (run.file.empty() && fs::exists(trained)) run.file = trained;
  if (run.file.empty()) {
    const auto found = newest_checkpoint(checkpoint_folder(run_dir));
    check(found.has_value(), "the run in {} has neither trained.safetensors nor a checkpoint yet", run_dir);
    run.file = found->path();
  }
  run.tensors = read_tensors(run.file);
  if (run.file.ends_with(".h5")) return run;
  const auto source = open_weights(run.file);  // whose metadata lives as long as it does
  for (const auto& [key, value] : source->metadata()) {
    if (key.starts_with("frozen.")) run.frozen[key] = value;
  }
  return run;
}

Adapter adapter_of(const TrainedRun& run) {
  const ModelConfig& m = run.config.model;
  Adapter adapter{.rank = m.lora_rank,
                  .alpha = m.lora_alpha,
                  .dropout = m.lora_dropout,
                  .rank_stabilized = m.rslora,
                  .base = m.decoder,
                  .frozen = run.frozen};
  std::set<std::string> targets;
  for (const auto& [name, x] : run.tensors) {
    if (!is_lora(name)) continue;
    adapter.tensors.emplace_back(name, x);
    targets.insert(target_of(name));
  }
  check(!adapter.tensors.empty(), "{} holds no LoRA: the run trained {}", run.file, fmt::join(m.train, ", "));
  adapter.targets.assign(targets.begin(), targets.end());
  check_pairs(adapter, run.file);
  return adapter;
}

Adapter read_adapter_config(const std::string& folder) {
  const std::string path = folder + "/adapter_config.json";
  const json config = read_json(path);
  const auto shown = [&](const char* key) {
    return config.contains(key) ? config[key].dump(-1, ' ', false, json::error_handler_t::replace) : "absent";
  };
  check(config.value("peft_type", json()) == "LORA", "{}: peft_type is {}, not \"LORA\"", path, shown("peft_type"));
  for (const char* key : {"use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "fan_in_fan_out",
                          "layer_replication", "trainable_token_indices", "alora_invocation_tokens", "use_qalora"}) {
    check(is_empty(config.value(key, json())), "{}: {} is {}, which is not supported", path, key, shown(key));
  }
  check(config.value("bias", json("none")) == "none", "{}: bias is {}; trained biases are not supported", path,
        shown("bias"));
  const json start = config.value("init_lora_weights", json(true));  // others change the base too: PiSSA, OLoRA, LoftQ
  check(start.is_boolean() || start == "gaussian" || start == "eva",
        "{}: init_lora_weights is {}, which is not supported", path, shown("init_lora_weights"));
  const json rank = config.value("r", json()), alpha = config.value("lora_alpha", json());
  check(rank.is_number_unsigned() && rank > 0 && rank < 1 << 20 && alpha.is_number(),
        "{}: r is {} and lora_alpha {}; positive numbers are needed", path, shown("r"), shown("lora_alpha"));
  Adapter adapter{.rank = rank.get<std::int64_t>(), .alpha = alpha.get<double>()};
  adapter.rank_stabilized = config.value("use_rslora", json(false)) == true;
  if (const json base = config.value("base_model_name_or_path", json()); base.is_string()) adapter.base = base;
  return adapter;
}

Adapter read_adapter(const std::string& folder) {
  Adapter adapter = read_adapter_config(folder);
  std::set<std::string> targets;
  const SafetensorsReader file(folder + "/adapter_model.safetensors");
  for (const WeightEntry& entry : file.entries()) {
    check(entry.name.starts_with(peft_prefix), "{}: the name '{}' does not begin with {}", file.path(), entry.name,
          peft_prefix);
    adapter.tensors.emplace_back(entry.name.substr(peft_prefix.size()), file.read(entry.name));
    targets.insert(target_of(entry.name));
  }
  adapter.targets.assign(targets.begin(), targets.end());
  check_pairs(adapter, file.path());
  return adapter;
}

void write_adapter(const Adapter& adapter, const std::string& folder) {
  const json config = {{"peft_type", "LORA"},
                       {"task_type", "CAUSAL_LM"},
                       {"base_model_name_or_path", adapter.base},
                       {"r", adapter.rank},
                       {"lora_alpha", adapter.alpha},
                       {"lora_dropout", adapter.dropout},
                       {"use_rslora", adapter.rank_stabilized},
                       {"target_modules", adapter.targets},
                       {"bias", "none"},
                       {"modules_to_save", nullptr},
                       {"fan_in_fan_out", false},
                       {"inference_mode", true}};
  NamedTensors tensors;
  for (const auto& [name, x] : adapter.tensors) tensors.emplace_back(std::string(peft_prefix) + name, x);
  fs::create_directories(folder);
  std::map<std::string, std::string> metadata = adapter.frozen;
  metadata["format"] = "pt";
  write_safetensors(folder + "/adapter_model.safetensors", tensors, metadata);
  write_file(folder + "/adapter_config.json", config.dump(2) + "\n");
}

std::vector<PlannedTensor> merged(const WeightSource& base, const Adapter& adapter) {
  std::map<std::string, Tensor> terms(adapter.tensors.begin(), adapter.tensors.end());
  for (const auto& [name, x] : adapter.tensors) {
    const std::string weight = layer_of(name) + ".weight";
    check(base.contains(weight) || has_quantized(base, weight), "{} has no tensor '{}', which the adapter is for",
          base.path(), weight);
  }
  std::vector<PlannedTensor> tensors;
  for (const std::string& name : weight_names(base)) {
    if (is_derived(name)) continue;
    const DType dtype = merged_dtype(base, name);
    const std::string layer = name.ends_with(".weight") ? name.substr(0, name.size() - 7) : "";
    const auto a = terms.find(fmt::format("{}{}", layer, a_end)), b = terms.find(fmt::format("{}{}", layer, b_end));
    const bool adapted = a != terms.end() && b != terms.end();
    tensors.push_back({name, dtype, shape_of(base, name),
                       [&base, dtype, name, adapted, lora_a = adapted ? a->second : Tensor(),
                        lora_b = adapted ? b->second : Tensor(), scaling = adapter.scaling()] {
                         const Tensor weight = read_weight(base, name);
                         return (adapted ? add_term(weight, lora_a, lora_b, scaling, name) : weight).to(dtype);
                       }});
  }
  return tensors;
}

std::vector<PlannedTensor> replaced(const PretrainedPart& part, const NamedTensors& trained) {
  struct Rows {
    std::int64_t begin = 0, end = 0;
    Tensor values;
  };
  const WeightSource& base = *part.source;
  std::map<std::string, std::vector<Rows>> by_tensor;
  std::set<std::string> used;
  for (const auto& [name, place] : part.places) used.insert(place.tensor);
  for (const auto& [name, x] : trained) {
    const auto found = part.places.find(name);
    check(found != part.places.end(), "{} has no place for '{}', which the run trained: it is another model",
          base.path(), name);
    const auto& [tensor, begin, end] = found->second;
    Shape shape = shape_of(base, tensor);
    const std::int64_t last = end < 0 ? shape[0] : end;
    shape[0] = last - begin;
    check(x.shape() == shape, "the run trained '{}' {}, {} has {}: it is another model", name, x.shape(), base.path(),
          shape);
    by_tensor[tensor].push_back({begin, last, x});
  }
  std::vector<PlannedTensor> tensors;
  for (const std::string& name : weight_names(base)) {
    // A head that is stored although it is tied to the table would be another than the table from now on.
    if (is_derived(name) || (name == "lm_head.weight" && !used.contains(name))) continue;
    const DType dtype = merged_dtype(base, name);
    tensors.push_back({name, dtype, shape_of(base, name), [&base, dtype, name, rows = by_tensor[name]] {
                         const Tensor values = read_weight(base, name).to(dtype);
                         for (const auto& [begin, end, trained] : rows) {
                           values.slice(0, begin, end).copy_from(trained.to(dtype));
                         }
                         return values;
                       }});
  }
  return tensors;
}

std::string shard_name(std::size_t shard, std::size_t shards) {
  return shards == 1 ? "model.safetensors" : fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, shards);
}

// Of a model in the same folder with another number of shards, readers might take the files of either.
void check_no_other_model(const std::string& folder, std::size_t shards) {
  std::set<std::string> own;
  for (std::size_t i = 0; i < shards; ++i) own.insert(shard_name(i, shards));
  if (shards > 1) own.insert(index_name);
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder, none)) {
    const std::string name = entry.path().filename().string();
    const bool weights = name == index_name || (name.starts_with("model") && name.ends_with(".safetensors"));
    check(!weights || own.contains(name), "{} holds another model already ({}); choose another folder, or empty it",
          folder, name);
  }
}

void write_model(const std::string& folder, const std::vector<PlannedTensor>& tensors, std::uint64_t shard_bytes) {
  std::vector<std::vector<PlannedTensor>> shards(1);
  std::uint64_t in_shard = 0, all = 0;
  for (const PlannedTensor& tensor : tensors) {
    const std::uint64_t bytes = static_cast<std::uint64_t>(tensor.shape.numel()) * size_of(tensor.dtype);
    if (in_shard > 0 && in_shard + bytes > shard_bytes) {
      shards.emplace_back();
      in_shard = 0;
    }
    shards.back().push_back(tensor);
    in_shard += bytes;
    all += bytes;
  }
  fs::create_directories(folder);
  check_no_other_model(folder, shards.size());
  const std::map<std::string, std::string> metadata = {{"format", "pt"}};  // transformers wants it
  if (shards.size() == 1) return stream_safetensors(folder + "/" + shard_name(0, 1), tensors, metadata);
  json index = {{"metadata", {{"total_size", all}}}, {"weight_map", json::object()}};
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string name = shard_name(i, shards.size());
    stream_safetensors(folder + "/" + name, shards[i], metadata);
    for (const PlannedTensor& tensor : shards[i]) index["weight_map"][tensor.name] = name;
  }
  write_file(fmt::format("{}/{}", folder, index_name), index.dump(2) + "\n");
}

}  // namespace skymm
