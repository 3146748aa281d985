#include "launch/weights_command.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "io/checkpoint.hpp"
#include "io/file.hpp"
#include "io/utf8.hpp"
#include "launch/assembly/adapter.hpp"
#include "launch/assembly/chat_form.hpp"
#include "launch/assembly/model_folder.hpp"
#include "launch/assembly/weights_convert.hpp"
#include "launch/command.hpp"
#include "launch/config/options.hpp"

namespace skymm {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

template <class... Args>
void print(fmt::format_string<Args...> format, Args&&... args) {
  std::fputs(fmt::format(format, std::forward<Args>(args)...).c_str(), stdout);
}

std::string text_value(const std::string& value) { return value; }

// ---- inspect

void print_tensor(const std::string& name, const std::string& dtype, const std::string& shape, std::uint64_t bytes,
                  const std::string& hash) {
  print("{:<64} {:<6} {:<20} {:>14} {}\n", valid_utf8(name), dtype, shape, bytes, hash);
}

// Prints one tensor of a checkpoint; whether its arrays have their checksums.
bool print_stored(const CheckpointFile& file, std::size_t index, bool hashes) {
  const StoredTensor& tensor = file.tensors()[index];
  std::string hash;
  bool whole = true;
  try {
    for (int array = 0; hashes && array < tensor.arrays(); ++array) {
      const std::vector<float> values = file.read_whole(index, array);
      if (array == 0) hash = fmt::format("{:016x}", hash64(values.data(), values.size() * sizeof(float)));
    }
  } catch (const Error& error) {
    whole = false;
    hash = fmt::format("DAMAGED: {}", error.message());
  }
  print_tensor(tensor.name, tensor.moments ? "F32+mv" : "F32", tensor.shape.str(),
               static_cast<std::uint64_t>(tensor.shape.numel()) * sizeof(float), hash);
  return whole;
}

int inspect_checkpoint(const std::string& path, bool hashes) {
  const CheckpointFile file(path);
  const CheckpointInfo& info = file.info();
  print("{}: checkpoint after step {}, {} tensors, format {}, {} bytes\n", path, info.step, file.tensors().size(),
        file.version(), fs::file_size(path));
  print("  {} updates, seed {}, {} samples drawn, written by {}\n", info.updates, info.seed, info.position,
        info.code_version);
  if (!info.grid.empty()) print("  written on {}\n", info.grid);
  print("  metrics {}\n", valid_utf8(info.metrics));
  for (const auto& [part, hash] : info.frozen) print("  belongs to the frozen {} of hash {:016x}\n", part, hash);
  for (const WeightOrigin& origin : info.origins) {
    print("  read from {}, {} bytes, {}\n", origin.path, origin.bytes,
          origin.hash == 0 ? "not hashed" : fmt::format("XXH64 {:016x}", origin.hash));
  }
  std::int64_t elements = 0;
  int damaged = 0;
  for (std::size_t i = 0; i < file.tensors().size(); ++i) {
    damaged += print_stored(file, i, hashes) ? 0 : 1;
    elements += file.tensors()[i].shape.numel();
  }
  print("{} bytes of weights, without moments; {}\n", elements * static_cast<std::int64_t>(sizeof(float)),
        !hashes        ? "not checked"
        : damaged == 0 ? "every checksum is right"
                       : fmt::format("{} tensors are DAMAGED", damaged));
  return damaged == 0 ? 0 : 1;
}

void inspect_source(const std::string& path, bool hashes) {
  const std::unique_ptr<WeightSource> source = open_weights(path);
  for (const std::string& file : source->files()) print("{}: {} bytes\n", file, fs::file_size(file));
  for (const auto& [key, value] : source->metadata()) {
    std::string text = valid_utf8(value);
    if (text.size() > 80) text = valid_utf8(text.substr(0, 77)) + "...";
    std::ranges::replace(text, '\n', ' ');
    print("  {} = {}\n", valid_utf8(key), text);
  }
  std::uint64_t bytes = 0, elements = 0;
  std::map<std::string, int> dtypes;
  for (const WeightEntry& entry : source->entries()) {
    const std::string_view stored = source->stored(entry);
    print_tensor(entry.name, entry.dtype, entry.shape_text(), stored.size(),
                 hashes ? fmt::format("{:016x}", hash64(stored.data(), stored.size())) : "");
    bytes += stored.size();
    elements += static_cast<std::uint64_t>(entry.rows() * entry.row_elements());
    ++dtypes[entry.dtype];
  }
  std::string kinds;
  for (const auto& [dtype, count] : dtypes) kinds += fmt::format("{}{} {}", kinds.empty() ? "" : ", ", count, dtype);
  print("{} tensors ({}), {} elements, {} bytes\n", source->entries().size(), kinds, elements, bytes);
}

int inspect_command(const Words& arguments) {
  const std::vector<Flag> flags = {
      {"hash", "BOOL", "XXH64 of each tensor's bytes, and whether a checkpoint is whole: reads all; default true"}};
  const Arguments given = parse_arguments("skymm weights inspect", flags, arguments, 1);
  if (given.help) {
    print(
        "skymm weights inspect PATH [--hash false]\n\nLists the tensors of a safetensors file, of a folder, of a GGUF "
        "file or of a checkpoint:\nname, dtype, shape, bytes, hash; and what the file says of itself. Fails where a "
        "checkpoint is damaged.\n\n{}",
        flags_help(flags));
    return 0;
  }
  if (given.positional.empty()) fail_usage("skymm weights inspect: which weights? Give a file or a folder");
  const std::string& path = given.positional.front();
  const bool hashes = given.get("hash", parse_bool, true);
  if (path.ends_with(".h5")) return inspect_checkpoint(path, hashes);
  inspect_source(path, hashes);
  return 0;
}

// ---- export

// What trained beside LoRA and the decoder, with what is needed to build it again.
void export_resampler(const TrainedRun& run, const std::string& out) {
  NamedTensors tensors;
  for (const auto& [name, x] : run.tensors) {
    if (name.starts_with("resampler.")) tensors.emplace_back(name, x);
  }
  if (tensors.empty()) return;
  const ModelConfig& m = run.config.model;
  const nlohmann::json config = {{"resampler", m.resampler},
                                 {"queries", m.queries},
                                 {"depth", m.resampler_depth},
                                 {"positions", m.resampler_positions},
                                 {"vision", m.vision},
                                 {"decoder", m.decoder},
                                 {"chat_template", chat_form(run.config)}};
  std::map<std::string, std::string> metadata = run.frozen;
  metadata["format"] = "pt";
  write_safetensors(out + "/resampler.safetensors", tensors, metadata);
  write_file(out + "/resampler_config.json", config.dump(2) + "\n");
  print("wrote {}/resampler.safetensors: {} tensors\n", out, tensors.size());
}

int export_command(const Words& arguments) {
  const std::vector<Flag> flags = {
      {"run", "DIR", "run directory that skymm train made"},
      {"out", "DIR", "where the files go"},
      {"weights", "FILE",
       "a checkpoint or safetensors file; default: the run's trained.safetensors, else its newest "
       "checkpoint"}};
  const Arguments given = parse_arguments("skymm weights export", flags, arguments, 0);
  if (given.help) {
    print(
        "skymm weights export --run DIR --out DIR [--weights FILE]\n\nWrites what a run trained: LoRA as PEFT loads it "
        "(adapter_config.json, adapter_model.safetensors) and the\nresampler (resampler.safetensors, "
        "resampler_config.json).\n\n{}",
        flags_help(flags));
    return 0;
  }
  const std::string out = given.required("out");
  const TrainedRun run = read_trained(given.required("run"), given.get("weights", text_value, std::string()));
  const auto trained = [&](const char* part) { return std::ranges::count(run.config.model.train, part) > 0; };
  const bool has_lora = trained("lora"), has_resampler = trained("resampler");
  check(has_lora || has_resampler,
        "the run trained {}: there is neither LoRA nor a resampler to export; skymm weights merge --run writes whole "
        "models",
        fmt::join(run.config.model.train, ", "));
  fs::create_directories(out);
  if (has_lora) {
    const Adapter adapter = adapter_of(run);
    write_adapter(adapter, out);
    print("wrote {}/adapter_model.safetensors: {} tensors, rank {}, scaling {}\n", out, adapter.tensors.size(),
          adapter.rank, adapter.scaling());
  }
  export_resampler(run, out);
  return 0;
}

// ---- merge

// Of the weights that a run trained, those of the decoder or of the vision model.
NamedTensors trained_part(const TrainedRun& run, bool vision) {
  NamedTensors part;
  for (const auto& [name, x] : run.tensors) {
    const bool decoder = name.starts_with("model.") || name == "lm_head.weight";
    if (!is_lora(name) && (vision ? name.starts_with("vision_model.") : decoder)) part.emplace_back(name, x);
  }
  return part;
}

void check_folders(const std::string& base, const std::string& out) {
  check(fs::exists(base), "what trained belongs to '{}', which is not a path; give the model's with --base", base);
  check(!fs::exists(out) || !fs::equivalent(base, out), "{} is the base itself; choose another folder", out);
}

void write_merged(const std::vector<PlannedTensor>& tensors, const std::string& base, const std::string& out,
                  std::uint64_t shard_bytes) {
  write_model(out, tensors, shard_bytes);
  const auto table = std::ranges::find(tensors, "model.embed_tokens.weight", &PlannedTensor::name);
  write_beside(base, table == tensors.end() ? DType::bf16 : table->dtype, out);
}

void merge_decoder(const std::optional<TrainedRun>& run, const Arguments& given, std::uint64_t shard_bytes) {
  const std::string out = given.required("out");
  const NamedTensors trained = run ? trained_part(*run, false) : NamedTensors();
  if (!trained.empty()) {
    const std::string base = given.get("base", text_value, run->config.model.decoder);
    check_folders(base, out);
    const PretrainedPart part = bind_decoder(describe_decoder(base).config, open_weights(base));
    write_merged(replaced(part, trained), base, out, shard_bytes);
    return print("wrote {}: {} of {} tensors as the run trained them\n", out, trained.size(), part.places.size());
  }
  const Adapter adapter = run ? adapter_of(*run) : read_adapter(given.required("adapter"));
  const std::string base = given.get("base", text_value, adapter.base);
  check_folders(base, out);
  const std::unique_ptr<WeightSource> source = open_weights(base);
  const std::vector<PlannedTensor> tensors = merged(*source, adapter);
  write_merged(tensors, base, out, shard_bytes);
  print("wrote {}: {} tensors, LoRA of rank {} in {} of them\n", out, tensors.size(), adapter.rank,
        adapter.tensors.size() / 2);
}

void merge_vision(const TrainedRun& run, const std::string& out, std::uint64_t shard_bytes) {
  const std::string& base = run.config.model.vision;
  const NamedTensors trained = trained_part(run, true);
  check(!trained.empty(), "{} holds no vision model: the run trained {}", run.file,
        fmt::join(run.config.model.train, ", "));
  check(fs::exists(base), "the run's vision model is the preset '{}', which no other tool loads", base);
  check_folders(base, out);
  const PretrainedPart part = bind_vision(describe_vision(base), open_weights(base));
  write_merged(replaced(part, trained), base, out, shard_bytes);
  print("wrote {}: {} of {} tensors as the run trained them\n", out, trained.size(), part.places.size());
}

int merge_command(const Words& arguments) {
  const std::vector<Flag> flags = {
      {"adapter", "DIR", "LoRA as PEFT or skymm weights export writes it"},
      {"run", "DIR", "or a run directory: its LoRA is taken, or the decoder and the vision model where they trained"},
      {"base", "PATH", "the LLM: a folder or a GGUF file; default: what the adapter or the run was trained on"},
      {"out", "DIR", "where the merged LLM goes"},
      {"vision-out", "DIR", "where the vision model goes, if the run trained it"},
      {"shard-gb", "X", "largest file, in GB; default 5"}};
  const Arguments given = parse_arguments("skymm weights merge", flags, arguments, 0);
  if (given.help) {
    print(
        "skymm weights merge (--adapter DIR | --run DIR) --out DIR [--base PATH]\n\nAdds LoRA to the weights of its "
        "LLM, or puts those in their place that a run with model.train decoder trained,\nand writes a folder that "
        "transformers loads; --vision-out the same of a vision model that trained.\n\n{}",
        flags_help(flags));
    return 0;
  }
  if ((given.find("adapter") == nullptr) == (given.find("run") == nullptr)) {
    fail_usage("skymm weights merge takes one of --adapter DIR and --run DIR");
  }
  const std::string* vision = given.find("vision-out");
  if (vision != nullptr && given.find("run") == nullptr) fail_usage("--vision-out goes with --run DIR");
  if (vision == nullptr) given.required("out");
  const double gigabytes = given.get("shard-gb", parse_number, 5.0);
  if (gigabytes <= 0) fail_usage("--shard-gb: {} is out of range: more than 0", gigabytes);
  const auto shard_bytes = static_cast<std::uint64_t>(gigabytes * 1e9);
  std::optional<TrainedRun> run;
  if (given.find("run") != nullptr) run = read_trained(given.required("run"));
  if (given.find("out") != nullptr) merge_decoder(run, given, shard_bytes);
  if (vision != nullptr) merge_vision(*run, *vision, shard_bytes);
  return 0;
}

}  // namespace

int weights_command(const Words& arguments) {
  static const std::vector<Command> verbs = {
      {"inspect", "list the tensors of a file, a folder or a checkpoint", inspect_command},
      {"export", "write what a run trained: LoRA for PEFT, the resampler", export_command},
      {"merge", "write whole models with what a run trained, for transformers", merge_command},
      {"convert", "write weights in another format: bf16, int8, nf4", convert_command},
      {"synthesize", "write random weights of a decoder, for tests of size and speed", synthesize_command},
  };
  return dispatch("skymm weights", "Weights: safetensors, GGUF, PEFT adapters, checkpoints.", verbs, arguments);
}

}  // namespace skymm
