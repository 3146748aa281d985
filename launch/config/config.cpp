#include "launch/config/config.hpp"

#include <omp.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "core/host_memory.hpp"
#include "core/log.hpp"
#include "core/signal_stack.hpp"
#include "launch/config/config_table.hpp"
#include "ops/kernels/kernels.hpp"
#include "ops/models/config.hpp"
#include "parallel/job.hpp"
#include "parallel/learning_rate.hpp"
#include "parallel/pipeline/schedule.hpp"

namespace skymm {
namespace {

namespace po = boost::program_options;

Names option_names() {
  Names names;
  for (const Option& option : config_options()) names.emplace_back(option.name);
  return names;
}

const Option* find_option(const std::string& name) {
  const auto found = std::ranges::find(config_options(), name, [](const Option& o) { return std::string(o.name); });
  return found == config_options().end() ? nullptr : &*found;
}

// ---- values
// ----------------------------------------------------------------------------------------------------------

std::string range_text(const Range& range) {
  const std::string least =
      range.open ? fmt::format("more than {}", range.least) : fmt::format("at least {}", range.least);
  if (range.least == -infinity && range.most == infinity) return "";
  if (range.most == infinity) return least;
  return range.open ? fmt::format("{}, at most {}", least, range.most)
                    : fmt::format("{} to {}", range.least, range.most);
}

template <class T>
void set_number(T& to, T value, const Range& range) {
  const auto x = static_cast<double>(value);
  check(x >= range.least && x <= range.most && !(range.open && x == range.least), "{} is out of range: {}", value,
        range_text(range));
  to = value;
}

void set_value(std::string& to, std::string_view text, const Range&) { to = text; }
void set_value(bool& to, std::string_view text, const Range&) { to = parse_bool(text); }
void set_value(int& to, std::string_view text, const Range& range) {
  const std::int64_t value = parse_integer(text);
  std::int64_t checked = 0;
  set_number(checked, value, range);
  check(value == static_cast<int>(value), "{} is too large", value);
  to = static_cast<int>(value);
}
void set_value(std::int64_t& to, std::string_view text, const Range& range) {
  set_number(to, parse_integer(text), range);
}
void set_value(std::uint64_t& to, std::string_view text, const Range& range) {
  set_number(to, parse_unsigned(text), range);
}
void set_value(double& to, std::string_view text, const Range& range) { set_number(to, parse_number(text), range); }
void set_value(float& to, std::string_view text, const Range& range) {
  double value = 0;
  set_number(value, parse_number(text), range);
  to = static_cast<float>(value);
}
void set_value(std::vector<std::string>& to, std::string_view text, const Range&) { to = split_list(text); }
void set_value(std::vector<SourceConfig>& to, std::string_view text, const Range&) {
  std::vector<SourceConfig> sources;
  for (const std::string& item : split_list(text)) {
    const std::size_t colon = item.rfind(':');
    SourceConfig source{item.substr(0, colon)};
    const bool given = colon != std::string::npos, in_epochs = given && item.ends_with('e');
    if (given) {
      std::string number = item.substr(colon + 1);
      if (in_epochs) number.pop_back();
      (in_epochs ? source.epochs : source.weight) = parse_number(number);
    }
    check(!source.path.empty(), "'{}' has no path in front of its weight", item);
    check(source.weight > 0 && (!in_epochs || source.epochs > 0), "the weight of '{}' is not more than 0", item);
    sources.push_back(std::move(source));
  }
  to = std::move(sources);
}

void check_choice(const Option& option, const std::string& value) {
  if (option.choices == nullptr) return;
  const Names choices = option.choices();
  if (std::ranges::find(choices, value) != choices.end()) return;
  if (option.or_path && std::filesystem::exists(value)) return;
  if (option.or_path && value.find('/') != std::string::npos) {
    fail(
        "there is no {} here; models are not fetched by their name: download the folder and give its path, or one of "
        "{}",
        value, fmt::join(choices, ", "));
  }
  const std::string guess = nearest(value, choices);
  fail("'{}' is unknown{}; it takes {}{}", value, guess.empty() ? "" : fmt::format(", did you mean '{}'", guess),
       option.or_path ? "a path or " : "", fmt::join(choices, ", "));
}

// `where` names the place in front of the message: "recipe.ini:7: " or "".
void set_option(TrainConfig& config, const std::string& name, const std::string& text, const std::string& where) {
  const Option* option = find_option(name);
  if (option == nullptr) {
    const std::string guess = nearest(name, option_names());
    fail_usage("{}unknown option '{}'{}; skymm train --help lists all", where, name,
               guess.empty() ? "" : fmt::format(", did you mean '{}'", guess));
  }
  try {
    const Field field = option->field(config);
    std::visit([&](auto* to) { set_value(*to, trimmed(text), option->range); }, field);
    if (const auto* value = std::get_if<std::string*>(&field)) check_choice(*option, **value);
    if (const auto* list = std::get_if<std::vector<std::string>*>(&field)) {
      for (const std::string& item : **list) check_choice(*option, item);
    }
  } catch (const Error& error) {
    fail_usage("{}{}: {}", where, name, error.message());
  }
}

std::string text_of(const std::string& value) { return value; }
std::string text_of(bool value) { return value ? "true" : "false"; }
std::string text_of(const std::vector<std::string>& value) {
  return value.empty() ? "none" : fmt::format("{}", fmt::join(value, ","));
}
std::string text_of(const std::vector<SourceConfig>& value) {
  std::vector<std::string> items;
  for (const SourceConfig& source : value) {
    const std::string share = source.epochs > 0    ? fmt::format(":{}e", source.epochs)
                              : source.weight != 1 ? fmt::format(":{}", source.weight)
                                                   : "";
    items.push_back(source.path + share);
  }
  return text_of(items);
}
template <class T>
std::string text_of(T value) {
  return fmt::format("{}", value);  // the shortest text that reads back to the same number
}

std::string text_of_option(const Option& option, TrainConfig& config) {
  return std::visit([](auto* value) { return text_of(*value); }, option.field(config));
}

// ---- recipes and the command line
// ------------------------------------------------------------------------------------

// The line of a recipe that sets `name` (or, for name "", reads `content`), for messages.
int line_of(const std::string& path, const std::string& name, const std::string& content = "") {
  std::ifstream file(path);
  std::string section, line;
  for (int number = 1; std::getline(file, line); ++number) {
    const std::string_view text = trimmed(std::string_view(line).substr(0, line.find('#')));
    if (!content.empty() && text == content) return number;
    if (text.size() > 2 && text.front() == '[' && text.back() == ']')
      section = fmt::format("{}.", text.substr(1, text.size() - 2));
    const std::size_t equals = text.find('=');
    if (!name.empty() && equals != std::string_view::npos &&
        section + std::string(trimmed(text.substr(0, equals))) == name)
      return number;
  }
  return 0;
}

void read_recipe(TrainConfig& config, const std::string& path) {
  std::ifstream file(path);
  if (!file || std::filesystem::is_directory(path))
    fail_usage("recipe {} cannot be read; --config takes an INI file", path);
  po::parsed_options parsed(nullptr);
  try {
    parsed = po::parse_config_file(file, po::options_description(), true);
  } catch (const po::error& error) {
    // Boost quotes the line: "... contains an invalid line 'xyz'".
    const std::string text = error.what();
    const std::size_t quote = text.find('\''), end = text.rfind('\'');
    const std::string line = quote < end ? text.substr(quote + 1, end - quote - 1) : "";
    fail_usage("{}:{}: '{}' is neither a [section] nor name = value", path, line_of(path, "", line), line);
  }
  std::set<std::string> seen;
  for (const auto& option : parsed.options) {
    const std::string where = fmt::format("{}:{}: ", path, line_of(path, option.string_key));
    if (!seen.insert(option.string_key).second) {
      fail_usage("{}{} is set twice in this file", where, option.string_key);
    }
    set_option(config, option.string_key, option.value.empty() ? "" : option.value.front(), where);
  }
}

std::vector<Flag> command_line_flags() {
  std::vector<Flag> flags{{"config", "FILE", "a recipe"}, {"device", "DEVICE", "short for --run.device"}};
  for (const Option& option : config_options()) flags.push_back({option.name, option.value, option.help});
  return flags;
}

bool contains(const std::vector<std::string>& list, std::string_view item) {
  return std::ranges::find(list, item) != list.end();
}

void need(bool ok, const std::string& message) {
  if (!ok) fail_usage("{}", message);
}

void check_save_before_end(const TrainConfig& config) {
  try {
    const bool minutes = parse_save_before_end(config.run.save_before_end).has_value();
    need(config.train.objective != "lvm" || !minutes,
         "run.save_before_end: train.objective lvm has no checkpoints to go on from; leave it auto");
  } catch (const UsageError&) {
    throw;
  } catch (const Error& error) {
    fail_usage("run.save_before_end: {}", error.message());
  }
}

// What would be accepted and never be done.
void check_cudnn(const TrainConfig& config) {
  const auto& kinds = config.run.cudnn;
  if (kinds.empty()) return;
  need(config.run.device == "cuda",
       fmt::format("run.cudnn {} is for GPUs, and run.device is {}; set run.device cuda, or run.cudnn none",
                   fmt::join(kinds, ","), config.run.device));
  need(config.model.dtype == "bf16",
       fmt::format("run.cudnn computes in bf16, and model.dtype is {}; leave run.cudnn none", config.model.dtype));
  if (!contains(kinds, "patch_embedding")) return;
  need(config.model.vision != "none" && !config.data.features,
       "run.cudnn patch_embedding: no vision model sees pixels here (model.vision none, or data.features); leave it "
       "out");
  need(!contains(config.model.train, "vision"),
       "run.cudnn patch_embedding is for a frozen vision model, and model.train has vision; leave one of them out");
  const std::string& format = config.model.frozen_format;
  need(
      format != "int8" && format != "nf4",
      fmt::format("run.cudnn patch_embedding takes plain weights, and model.frozen_format is {}; leave one of them out",
                  format));
}

void check_memory_limit(const TrainConfig& config) {
  try {
    const bool limited = memory_limit(config.parallel) > 0;
    need(!limited || config.train.objective != "lvm",
         "parallel.memory is for what a decoder's stages take, and train.objective lvm has none; leave it out");
  } catch (const UsageError&) {
    throw;
  } catch (const Error& error) {
    fail_usage("parallel.memory: {}", error.message());
  }
}

// What can be said without the model and the number of ranks; launch/assembly/layout.hpp says the rest.
void check_parallel(const TrainConfig& config) {
  const ParallelConfig& p = config.parallel;
  const bool interleaved = p.schedule == name_of(ScheduleKind::interleaved);
  need(!interleaved || p.chunks > 1,
       "parallel.schedule interleaved gives each rank several pieces of the model; set parallel.chunks 2 or more");
  need(interleaved || p.chunks == 1,
       fmt::format("parallel.chunks {} needs parallel.schedule interleaved; it is {}", p.chunks, p.schedule));
  need(p.chunks == 1 || p.pipeline > 1,
       "parallel.chunks is for pipelines of several ranks; set parallel.pipeline 2 or more");
  check_memory_limit(config);
  const std::size_t modes = config.model.recompute.size();
  need(modes <= 1 || modes == static_cast<std::size_t>(p.pipeline),
       fmt::format("model.recompute has {} entries: give one for all stages, or one for each of parallel.pipeline {}",
                   modes, p.pipeline));
  need(p.transport != "nccl" || config.run.device != "cpu",
       "parallel.transport nccl moves tensors of GPUs, and run.device is cpu; leave parallel.transport auto");
  need(!p.shard_frozen || config.train.objective != "lvm",
       "parallel.shard_frozen spreads the weights of a frozen decoder, and train.objective lvm has none; leave it out");
  need(!p.shard_frozen || !contains(config.model.train, "decoder"),
       "parallel.shard_frozen spreads the weights of a frozen decoder, and model.train has decoder; parallel.zero 3 "
       "spreads weights that train");
  need(config.train.objective != "lvm" || (p.pipeline == 1 && p.zero <= 1),
       "train.objective lvm trains on data-parallel ranks only: leave parallel.pipeline 1 and parallel.zero at most 1");
}

void check_evaluation(const TrainConfig& config) {
  const auto& [run, model, data, train, parallel] = config;
  const std::vector<EvaluationSet> sets = evaluation_sets(data);
  const bool has_pope = std::ranges::find(sets, "pope", &EvaluationSet::kind) != sets.end();
  need(has_pope || data.evaluation_images.empty(),
       "data.evaluation_images is for pope in data.evaluation, which has none; leave it out");
  need(sets.empty() == (train.evaluate_every == 0),
       sets.empty()
           ? "train.evaluate_every: there is nothing to evaluate; give data.evaluation, such as mme=DIR"
           : "data.evaluation lists what is asked every train.evaluate_every steps, which is 0: never; give it "
             "too, or data.evaluation none");
  need(train.evaluate_limit == 0 || !sets.empty(), "train.evaluate_limit is for data.evaluation, which is none");
  if (sets.empty()) return;
  need(train.objective == "instruction",
       fmt::format(
           "data.evaluation asks about pictures, which train.objective {} does not learn to answer; leave it out",
           train.objective));
  need(
      !data.features,
      "data.evaluation: its pictures have no features, and data.features leaves out the vision model; leave out one of "
      "them, and ask the finished run by skymm eval");
  need(parallel.pipeline == 1,
       fmt::format("data.evaluation: each rank answers by itself, and parallel.pipeline {} cuts the model over ranks; "
                   "leave it out, and ask the run's checkpoints by skymm eval, which may run beside",
                   parallel.pipeline));
  need(!parallel.shard_frozen,
       "data.evaluation: each rank answers by itself, and parallel.shard_frozen leaves each a part of the decoder; "
       "leave "
       "out one of them, or ask the run's checkpoints by skymm eval, which may run beside");
}

}  // namespace

std::vector<EvaluationSet> evaluation_sets(const DataConfig& config) {
  std::vector<EvaluationSet> sets;
  for (const std::string& item : config.evaluation) {
    const std::size_t equals = item.find('=');
    EvaluationSet set{.kind = item.substr(0, equals)};
    if (equals != std::string::npos) set.path = item.substr(equals + 1);
    const bool known = set.kind == "mme" || set.kind == "mmbench" || set.kind == "pope";
    need(known && !set.path.empty(),
         fmt::format("data.evaluation: '{}' is not mme=DIR, mmbench=FILE or pope=PATH", item));
    sets.push_back(std::move(set));
  }
  std::set<std::string> names;
  for (EvaluationSet& set : sets) {
    std::filesystem::path path(set.path);
    if (!path.has_filename()) path = path.parent_path();  // "DIR/"
    const bool alone = std::ranges::count(sets, set.kind, &EvaluationSet::kind) == 1;
    set.name = alone ? set.kind : fmt::format("{}_{}", set.kind, path.stem().string());
    need(names.insert(set.name).second,
         fmt::format("data.evaluation: the figures of two sets would both be called {}; rename a file", set.name));
  }
  return sets;
}

std::optional<TrainConfig> parse_config(const std::vector<std::string>& arguments) {
  const Arguments given = parse_arguments("skymm train", command_line_flags(), arguments, 0, {"config"});
  if (given.help) return std::nullopt;
  TrainConfig config;
  for (const auto& [name, value] : given.named) {
    if (name == "config") read_recipe(config, value);
  }
  for (const auto& [name, value] : given.named) {
    if (name != "config") set_option(config, name == "device" ? "run.device" : name, value, "--");
  }
  check_config(config);
  return config;
}

std::string config_help() {
  TrainConfig defaults;
  std::string text =
      "skymm train --config recipe.ini [--section.name VALUE ...]\n\n"
      "Trains what model.train lists. Options come from their defaults, then the recipe (an INI file; --config may be\n"
      "repeated, later ones win), then the command line. The resolved config is saved as a recipe in the run "
      "directory.\n"
      "Lists are separated by commas; none is the empty list.\n";
  for (const Section& section : config_sections()) {
    text += fmt::format("\n[{}] {}\n", section.name, section.help);
    for (const Option& option : config_options()) {
      const std::string name = option.name;
      if (name.substr(0, name.find('.')) != section.name) continue;
      std::string help = option.help;
      if (option.choices != nullptr) help += fmt::format(" ({})", fmt::join(option.choices(), ", "));
      if (const std::string range = range_text(option.range); !range.empty()) help += fmt::format(" ({})", range);
      const std::string value = text_of_option(option, defaults);
      if (!value.empty()) help += fmt::format("; default {}", value);
      text += help_entry(fmt::format("--{} {}", name, option.value), help, 38);
    }
  }
  return text;
}

std::string to_ini(const TrainConfig& config) {
  TrainConfig copy = config;
  std::string text = "# A run of skymm: skymm train --config THIS_FILE does it again.\n";
  for (const Section& section : config_sections()) {
    text += fmt::format("\n[{}]\n", section.name);
    for (const Option& option : config_options()) {
      const std::string name = option.name;
      const std::size_t dot = name.find('.');
      if (name.substr(0, dot) != section.name) continue;
      const std::string value = text_of_option(option, copy);
      check(value.find_first_of("#\n") == std::string::npos, "{} = '{}' cannot be saved: a recipe's values have no '#'",
            name, value);
      text += fmt::format("{} = {}\n", name.substr(dot + 1), value);
    }
  }
  return text;
}

void check_config(const TrainConfig& config) {
  const auto& [run, model, data, train, parallel] = config;
  need(!data.train.empty(), "data.train is empty: give the data sets to learn from, --data.train PATH");
  need(!tokenizer_path(model).empty(),
       "model.tokenizer is missing: give a tokenizer.model, tokenizer.json or GGUF file, --model.tokenizer FILE");
  need(!run.dir.empty(), "run.dir is empty: give a directory, --run.dir DIR");
  need(train.warmup_steps <= train.steps,
       fmt::format("train.warmup_steps {} is more than train.steps {}", train.warmup_steps, train.steps));
  need(train.micro_batch <= train.global_batch,
       fmt::format("train.micro_batch {} is more than train.global_batch {}", train.micro_batch, train.global_batch));
  need(run.resume == "auto" || run.resume == "none" || std::filesystem::exists(run.resume),
       fmt::format("run.resume: there is no checkpoint {}; use auto, none or a file", run.resume));
  check_save_before_end(config);
  check_cudnn(config);
  need(data.quarantine.empty() || std::filesystem::is_regular_file(data.quarantine),
       fmt::format("data.quarantine: there is no file {}", data.quarantine));
  check_parallel(config);
  check_evaluation(config);
  const bool few_bits = model.frozen_format == "int8" || model.frozen_format == "nf4";
  need(few_bits || model.frozen_format == "dtype" || model.frozen_format == model.dtype,
       fmt::format(
           "model.frozen_format {0} with model.dtype {1}: plain frozen weights are of the type that they compute "
           "in; set model.dtype {0}",
           model.frozen_format, model.dtype));
  need(!model.double_quantization || model.frozen_format == "nf4",
       fmt::format("model.double_quantization is for model.frozen_format nf4; it is {}", model.frozen_format));
  const auto in_epochs = [](const SourceConfig& source) { return source.epochs > 0; };
  if (std::ranges::any_of(data.train, in_epochs)) {
    need(std::ranges::all_of(data.train, in_epochs),
         "data.train has data sets with epochs and others without; give each of them epochs, PATH:2e, or none");
    need(data.temperature == 0, "data.temperature changes the shares that data.train's epochs ask for; leave it 0");
    need(data.english_weight == 1 && data.chinese_weight == 1,
         "data.train's epochs are passes over whole data sets; leave data.english_weight and data.chinese_weight 1");
  }
  need(std::ranges::all_of(data.validation,
                           [](const SourceConfig& source) { return source.weight == 1 && source.epochs == 0; }),
       "data.validation takes no weights: each of its samples counts once");
  if (train.objective == "lvm") {
    need(run.device == "cpu", fmt::format("train.objective lvm trains on the cpu alone; run.device is {}", run.device));
    need(!few_bits, "train.objective lvm has no frozen weights; leave model.frozen_format");
    need(!data.features, "train.objective lvm trains the vision model; leave data.features");
    need(model.vision != "none", "train.objective lvm trains model.vision, which is none");
    need(data.train.size() == 1 && data.validation.size() == 1 && data.train[0].epochs == 0,
         "train.objective lvm takes one data set in data.train, without epochs, and one in data.validation");
    need(run.resume == "auto" && train.time_limit_minutes == 0,
         "train.objective lvm has no checkpoints to go on from; leave run.resume auto, and train.time_limit_minutes 0");
    need(data.quarantine.empty() && train.spike_zscore == 0,
         "train.objective lvm knows neither data.quarantine nor train.spike_zscore");
    return;
  }
  need(!model.train.empty(), "model.train is none: nothing would train; it takes resampler, lora, decoder, vision");
  const bool sees = model.vision != "none";
  need(train.objective != "instruction" || sees,
       "train.objective instruction needs a model.vision; for a decoder alone "
       "use train.objective text");
  need(train.objective != "text" || !sees, "train.objective text trains a decoder alone; set model.vision none");
  need(sees || (!contains(model.train, "vision") && !contains(model.train, "resampler")),
       "model.train has vision or resampler, but model.vision is none");
  need(!data.features || sees, "data.features is for a model that sees, and model.vision is none");
  need(!data.features || !contains(model.train, "vision"),
       "data.features: features of a ViT that trains change with every step; leave vision out of model.train");
  need(!data.features || !data.augment,
       "data.features: pictures were encoded as they are, without augmentation; set data.augment false");
  need(!(contains(model.train, "lora") && contains(model.train, "decoder")),
       "model.train has both lora and decoder; LoRA adapts a frozen decoder, so choose one");
  need(model.resampler != "qwen" || !sees ||
           model.queries == std::llround(std::sqrt(model.queries)) * std::llround(std::sqrt(model.queries)),
       fmt::format("model.queries {} is not a square number, which the qwen resampler needs", model.queries));
  need(model.resampler_positions || model.resampler == "qwen",
       fmt::format("model.resampler_positions false is for the qwen resampler; {} has no such positions",
                   model.resampler));
}

void check_files(const TrainConfig& config) {
  const auto look = [](const char* option, const std::string& path) {
    check(path.empty() || std::filesystem::exists(path), "{}: there is no {}{}", option, path,
          path.starts_with('/') ? "" : fmt::format(" from {} on", std::filesystem::current_path().string()));
  };
  look("model.tokenizer", tokenizer_path(config.model));
  for (const std::string& path : config.model.weights) look("model.weights", path);
  for (const SourceConfig& source : config.data.train) look("data.train", source.path);
  for (const SourceConfig& source : config.data.validation) look("data.validation", source.path);
  for (const EvaluationSet& set : evaluation_sets(config.data)) look("data.evaluation", set.path);
  look("data.evaluation_images", config.data.evaluation_images);
  look("data.quarantine", config.data.quarantine);
  if (config.run.resume != "auto" && config.run.resume != "none") look("run.resume", config.run.resume);
}

void apply_process_options(const RunConfig& config) {
  set_log_level(parse_log_level(config.log_level));
  if (config.threads > 0) omp_set_num_threads(config.threads);
  keep_freed_memory();
#pragma omp parallel
  use_signal_stack();  // who asks a rank where its threads are interrupts each
}

std::optional<double> parse_save_before_end(const std::string& how) {
  if (how == "auto" || how == "none") return std::nullopt;
  double minutes = -1;
  try {
    minutes = parse_number(how);
  } catch (const Error&) {  // said below, with what it takes
  }
  check(minutes >= 0, "'{}' is neither auto, none nor a number of minutes from 0", how);
  return minutes;
}

double memory_limit(const ParallelConfig& config) {
  if (config.memory == "none") return 0;
  try {
    return parse_size(config.memory);
  } catch (const Error&) {
    fail("'{}' is neither none nor a size of more than 0, such as 80G or 512M", config.memory);
  }
}

bool is_decoder_preset(const std::string& name) { return std::ranges::count(decoder_presets(), name) > 0; }

std::string tokenizer_path(const ModelConfig& model) {
  return model.tokenizer.empty() && !is_decoder_preset(model.decoder) ? model.decoder : model.tokenizer;
}

std::vector<Recompute> recompute_modes(const ModelConfig& config) {
  if (config.recompute.empty()) return {Recompute::none};
  std::vector<Recompute> modes;
  for (const std::string& name : config.recompute) modes.push_back(parse_recompute(name));
  return modes;
}

Device& device_of(const RunConfig& config) {
  Device& device = open_device(config.device, read_job().local_rank);
  use_cudnn(config.cudnn, device);
  return device;
}

OptimizerOptions optimizer_options(const TrainConfig& config) {
  const TrainingConfig& t = config.train;
  return {t.beta1, t.beta2, t.epsilon, t.weight_decay, t.clip_norm};
}

float learning_rate(const TrainConfig& config, std::int64_t step) {
  const TrainingConfig& t = config.train;
  const LearningRateSchedule schedule =
      t.schedule == "cosine" ? LearningRateSchedule::cosine : LearningRateSchedule::constant;
  return t.learning_rate * learning_rate_factor(schedule, step, t.warmup_steps, t.steps, t.min_lr_ratio);
}

}  // namespace skymm
