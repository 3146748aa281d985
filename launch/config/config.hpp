// What a training run is made of: defaults < recipes (INI files) < command line.
//
//   skymm train --config recipe.ini --train.steps 200
//
// A recipe has the sections [run] [model] [data] [train] [parallel]; on the command line an option is --section.name
// VALUE. Every option is described once, in the table of config.cpp, which binds its name, its field, its range and its
// help. Paths are relative to the working directory.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/device.hpp"
#include "launch/config/options.hpp"
#include "ops/layers/recompute.hpp"
#include "parallel/zero/optimizer.hpp"

namespace skymm {

struct SourceConfig {
  std::string path;
  double weight = 1;  // relative share of the samples
  double epochs = 0;  // in place of a weight: passes over it, relative to those of the others; 0: not given
  bool operator==(const SourceConfig&) const = default;
};

// A benchmark that the model is asked while it trains.
struct EvaluationSet {
  std::string kind;  // mme, mmbench or pope
  std::string path;
  std::string name;  // of its figures and files: the kind, and the path's last part where the kind comes twice
};

struct RunConfig {
  std::string dir = "runs/run";
  std::uint64_t seed = 1;
  int threads = 0;                       // 0: as OMP_NUM_THREADS says, else all cores
  std::string device = "cpu";            // as open_device (ops/kernels) names them
  std::vector<std::string> cudnn;        // what use_cudnn (ops/kernels) is asked for
  std::string resume = "auto";           // auto, none, or a checkpoint
  std::string save_before_end = "auto";  // auto, none, or minutes
  std::string log_level = "info";
  std::string share_frozen = "auto";
  bool trace = false;
};

struct ModelConfig {
  std::string decoder = "nano";
  std::string vision = "vit-nano";
  std::string resampler = "qwen";
  std::int64_t queries = 16, resampler_depth = 2;
  bool resampler_positions = true;
  std::int64_t lora_rank = 16;
  float lora_alpha = 32, lora_dropout = 0;
  std::vector<std::string> lora_targets;
  bool rslora = false;
  std::vector<std::string> weights;
  std::string tokenizer;
  std::string dtype = "bf16";
  std::string frozen_format = "dtype";
  bool double_quantization = false;
  std::vector<std::string> train = {"resampler", "lora"};
  std::vector<std::string> recompute;  // of all stages, or one a stage; empty: none
};

struct DataConfig {
  std::vector<SourceConfig> train, validation;
  std::vector<std::string> evaluation;  // as evaluation_sets() reads them
  std::string evaluation_images;
  std::string chat_template = "nano";
  int max_length = 512;
  double english_weight = 1, chinese_weight = 1;
  double negatives = 1, max_bad_share = 0.05;
  double temperature = 0;
  std::string balance = "samples";
  std::string quarantine;
  bool augment = true, fast_jpeg = false;
  bool features = false;
  int workers = 1;
};

struct TrainingConfig {
  std::string objective = "instruction";
  std::int64_t steps = 1000;
  std::int64_t global_batch = 32, micro_batch = 16;
  float learning_rate = 1e-3F;
  std::string schedule = "cosine";
  std::int64_t warmup_steps = 20;
  float min_lr_ratio = 0.1F;
  float weight_decay = 0.05F, beta1 = 0.9F, beta2 = 0.95F, epsilon = 1e-8F, clip_norm = 1;
  std::int64_t log_every = 10, validate_every = 200, validation_steps = 20, checkpoint_every = 500;
  std::int64_t evaluate_every = 0, evaluate_limit = 0;
  int keep_checkpoints = 2;
  std::int64_t keep_every = 0;
  double spike_zscore = 0;
  std::int64_t most_skipped = 10;
  double time_limit_minutes = 0;
};

struct ParallelConfig {
  int data = 0, pipeline = 1, chunks = 1;
  std::string order = "pipeline";
  std::string schedule = "1f1b";
  std::vector<std::string> cuts;
  std::string memory = "none";  // of a rank: none, or a size
  std::string uneven = "refuse";
  int zero = 1;
  std::string transport = "auto";  // as parse_transport (parallel/nccl_communicator.hpp) names them
  bool shard_frozen = false;
  bool overlap = true, check_collectives = false;
  double watchdog_seconds = 300;
};

struct TrainConfig {
  RunConfig run;
  ModelConfig model;
  DataConfig data;
  TrainingConfig train;
  ParallelConfig parallel;
};

// From the arguments after `skymm train`; nothing where they ask for --help. Throws UsageError for an unknown option
// (with the nearest name, and file and line) and for a value out of range (with the range).
std::optional<TrainConfig> parse_config(const std::vector<std::string>& arguments);

// What --help prints: every option with its meaning, unit, range and default.
std::string config_help();

// Every option, as a recipe that parse_config reads back to the same config.
std::string to_ini(const TrainConfig& config);

// Throws UsageError where options do not go together.
void check_config(const TrainConfig& config);

// Throws Error, with the option's name, where a file or folder that the run reads is not there.
void check_files(const TrainConfig& config);

// What holds for this process as a whole: the log level, the number of threads, how it keeps memory and takes signals.
void apply_process_options(const RunConfig& config);

// Minutes before the end of the job as run.save_before_end says them; none for "auto" and "none". Throws Error that
// says what it takes.
std::optional<double> parse_save_before_end(const std::string& how);

// Bytes that a rank may take, as parallel.memory says them; 0 for "none", no limit. Throws Error that says what it
// takes.
double memory_limit(const ParallelConfig& config);

// data.evaluation: KIND=PATH each. Throws UsageError where one is not, and where two would have one name.
std::vector<EvaluationSet> evaluation_sets(const DataConfig& config);

bool is_decoder_preset(const std::string& name);  // else a pretrained one: a folder or a file
// model.tokenizer, or where that is empty what comes with model.decoder.
std::string tokenizer_path(const ModelConfig& model);

// model.recompute: one of all stages, or one a stage.
std::vector<Recompute> recompute_modes(const ModelConfig& config);
// The device of run.device; of a host's GPUs, each of its ranks has its own. cuDNN computes there what run.cudnn says.
// Throws Error where this build or this machine has none.
Device& device_of(const RunConfig& config);

OptimizerOptions optimizer_options(const TrainConfig& config);
float learning_rate(const TrainConfig& config, std::int64_t step);  // of the step, counted from 0

}  // namespace skymm
