#include "launch/training/trainer.hpp"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "core/log.hpp"
#include "core/trace.hpp"
#include "io/checkpoint_folder.hpp"
#include "io/file.hpp"
#include "io/weights/safetensors.hpp"
#include "launch/assembly/pretrained.hpp"
#include "launch/config/version.hpp"
#include "launch/training/checkpointer.hpp"
#include "launch/training/peak.hpp"
#include "launch/training/ranks_report.hpp"
#include "launch/training/resume.hpp"
#include "launch/training/run_log.hpp"
#include "launch/training/run_start.hpp"
#include "launch/training/step_loader.hpp"
#include "launch/training/suspects.hpp"
#include "parallel/pipeline/executor.hpp"
#include "parallel/pipeline/partition.hpp"
#include "parallel/zero/states.hpp"

namespace skymm {
namespace {

std::vector<double> sum_over(Communicator& world, const std::vector<double>& values) {
  const Tensor x = Tensor::from(values, {static_cast<std::int64_t>(values.size())});
  world.all_reduce(x);
  return x.to_vector<double>();
}

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

}  // namespace

Trainer::Trainer(const TrainConfig& config, Communicator& world)
    : config_(config),
      tokenizer_(load_tokenizer(tokenizer_path(config.model))),
      layout_(make_layout(config_, model_config(config_, tokenizer_->vocab_size()), world.size())),
      grid_(world, layout_.grid, layout_.order),
      world_(world),
      assembly_(assemble(config_, tokenizer_,
                         pieces_of_stage(layout_.pieces, layout_.grid.pipeline, grid_.place().stage), grid_.pipeline(),
                         grid_.data())),
      guard_({config_.train.spike_zscore, config_.train.most_skipped}),
      stragglers_(grid_),
      stop_request_(config_.run.save_before_end, world.rank() == 0 ? job_end_time() : std::nullopt) {
  say_layout();
  loader_ = std::make_unique<StepLoader>(config_, assembly_, grid_, true);
  if (!config_.data.validation.empty()) validation_ = std::make_unique<StepLoader>(config_, assembly_, grid_, false);
  std::vector<std::vector<NamedParameter>> chunks;
  for (const BlockRange piece : assembly_.model->pieces()) {
    chunks.push_back(trainable_parameters(*assembly_.model, piece));
  }
  const ZeroOptions zero{.stage = config_.parallel.zero, .overlap = config_.parallel.overlap};
  optimizer_ = std::make_unique<Optimizer>(std::move(chunks), optimizer_options(config_), zero, grid_.data(), world_);
  executor_ = std::make_unique<Executor>(*assembly_.model, layout_.pieces, grid_.pipeline(), *optimizer_,
                                         ExecutorOptions{config_.parallel.overlap, assembly_.shards.get()});
  world_.barrier();  // ranks that share a machine measure together what each of them gets
  const double peak = sum_over(world_, {measured_gemm_peak(assembly_.model->dtype(), 0, assembly_.model->device())})[0];
  if (peak > 0) {
    log::info("measured GEMM peak: {:.0f} GFLOP/s in {} over {} ranks", peak, config_.model.dtype, world_.size());
  }
  log_ = std::make_unique<RunLog>(config_, world_.rank() == 0, peak);
}

Trainer::~Trainer() = default;

void Trainer::say_layout() const {
  log::info("{}", assembly_.table);
  const auto& [kind, shape, lists] = layout_.training;
  if (world_.size() > 1) {
    const std::string ranks = grid_.table();
    log::info("{} data-parallel x {} pipeline ranks, ZeRO stage {}\n{}", layout_.grid.data, layout_.grid.pipeline,
              config_.parallel.zero, ranks);
  }
  if (const auto [bytes, ranks] = assembly_.shared; ranks > 1) {
    log::info("{:.1f} MiB of frozen weights are one copy for {} ranks of this node",
              static_cast<double>(bytes) / (1 << 20), ranks);
  }
  if (const FrozenShards* shards = assembly_.shards.get(); shards != nullptr) {
    constexpr double mib = 1 << 20;
    const auto bytes = static_cast<double>(shards->bytes()), layer = static_cast<double>(shards->largest_layer());
    log::info("{:.1f} MiB of frozen layers are spread over {} ranks: {:.1f} MiB on each, and two layers of {:.1f} MiB",
              bytes / mib, shards->ranks(), bytes / shards->ranks() / mib, layer / mib);
  } else if (config_.parallel.shard_frozen) {
    log::info("parallel.shard_frozen changes nothing: there is one data-parallel rank");
  }
  if (shape.pieces() > 1) {
    log::info("schedule {}, {} micro-batches\n{}", name_of(kind), shape.micro_batches, layout_.table);
  }
}

RunEnd Trainer::run() {
  start_from_checkpoint();
  if (world_.rank() == 0) {
    record_start(config_, world_.size());
    write_file(config_.run.dir + "/trainable.txt", assembly_.table);
    const std::string trained = config_.run.dir + "/trained.safetensors";  // not of this run any more, once it goes on
    if (first_step_ < config_.train.steps && std::filesystem::exists(trained)) {
      rename_file(trained, config_.run.dir + "/trained.previous.safetensors");
    }
  }
  if (first_step_ >= config_.train.steps) {
    log::info("all {} steps are done already; for more raise train.steps, to start anew set run.resume none",
              config_.train.steps);
  }
  stopping_ = any(stop_request_.asked());
  if (stopping_) {
    say_stop(first_step_);
    return RunEnd::stopped;
  }
  loader_->seek(first_step_, first_place_);
  if (loader_->mixture()) log_->epochs_ahead(*loader_->mixture(), place(config_.train.steps));
  const auto start = Clock::now();
  bool out_of_time = false;
  for (std::int64_t number = first_step_; number < config_.train.steps; ++number) {
    log_->step(step(number));
    if (number == first_step_)
      log::info("the first step is done {:.1f} s after the start", seconds_since_process_start());
    checkpointer_->poll();
    const std::int64_t done = number + 1;
    out_of_time =
        config_.train.time_limit_minutes > 0 && rank_0_says(since(start) > 60 * config_.train.time_limit_minutes);
    const bool last = done == config_.train.steps || out_of_time;
    if (done % config_.train.log_every == 0) stragglers_.report();
    if (validation_ && (last || done % config_.train.validate_every == 0)) {
      if (const std::optional<double> loss = validate()) log_->validation(done, *loss);
    }
    if (loader_->mixture() && (last || done % config_.train.validate_every == 0)) {
      log_->mixture(done, *loader_->mixture(), place(done));
    }
    if (last || stopping_ || done % config_.train.checkpoint_every == 0) checkpointer_->begin(checkpoint_info(done));
    if (stopping_ && !last) {
      check(checkpointer_->finish(), "asked to stop after step {}, but the checkpoint could not be written", done);
      say_stop(done);
      return RunEnd::stopped;
    }
    if (out_of_time) {
      log::info("the time limit of {} minutes is reached after step {}", config_.train.time_limit_minutes, done);
      break;
    }
  }
  const bool saved = checkpointer_->finish();
  export_trained();
  check(saved || !out_of_time,
        "the time limit is reached, but the last checkpoint could not be written: {} has the "
        "weights, and training goes on from an earlier step",
        config_.run.dir + "/trained.safetensors");
  Device& device = assembly_.model->device();
  log::info("the most memory that a rank used, MiB\n{}", memory_table(world_, assembly_.shared, device));
  if (&device != &cpu()) log::info("and of the host, MiB\n{}", memory_table(world_));
  return RunEnd::done;
}

void Trainer::say_stop(std::int64_t done) const {
  log::info("asked to stop ({}): saved after step {} of {}; the same command goes on from there",
            stop_request_.reason().empty() ? "a signal to another rank" : stop_request_.reason(), done,
            config_.train.steps);
}

// One optimizer step over the global batch.
StepMetrics Trainer::step(std::int64_t number) {
  const TraceSpan span("step", "train");
  const auto start = Clock::now();
  const double blocked_before = blocked_seconds();
  const StepData data = loader_->next();
  const double loss = executor_->run(layout_.training, data.batches);
  const double blocked = blocked_seconds();
  std::vector<double> mine = {loss,
                              static_cast<double>(data.counts.label_tokens),
                              static_cast<double>(data.counts.tokens),
                              static_cast<double>(data.counts.images),
                              static_cast<double>(data.bad_samples),
                              data.gflop,
                              blocked - blocked_before + blocked_in_update_,
                              stop_request_.asked() ? 1.0 : 0.0};
  mine.insert(mine.end(), data.counts.languages.begin(), data.counts.languages.end());
  mine.insert(mine.end(), data.counts.polarities.begin(), data.counts.polarities.end());
  const std::vector<double> total = sum_over(world_, mine);
  stopping_ = stopping_ || total[7] > 0;
  check(total[1] > 0, "step {}: no sample of the global batch has an answer to learn; see the reasons logged above",
        number + 1);
  StepMetrics metrics;
  metrics.step = number + 1;
  metrics.loss = total[0] / total[1];
  metrics.learning_rate = learning_rate(config_, number);
  update(metrics, total[1], data);
  blocked_in_update_ = blocked_seconds() - blocked;
  metrics.tokens = total[2];
  metrics.images = total[3];
  metrics.bad_samples = static_cast<std::int64_t>(total[4]);
  metrics.gflop = total[5];
  metrics.communication_seconds = total[6] / world_.size();
  std::copy_n(total.begin() + 8, 3, metrics.languages.begin());
  std::copy_n(total.begin() + 11, 3, metrics.polarities.begin());
  metrics.data_wait_seconds = data.waited_seconds;
  metrics.seconds = since(start);
  stragglers_.add(metrics.seconds - (blocked_seconds() - blocked_before));
  return metrics;
}

// Changes the weights, or lets the step pass without: all ranks the same, by what they all know.
void Trainer::update(StepMetrics& metrics, double label_tokens, const StepData& data) {
  std::string objection = guard_.objection(metrics.loss);
  if (objection.empty()) {
    const StepReport report = optimizer_->step(static_cast<float>(metrics.learning_rate), label_tokens);
    metrics.gradient_norm = report.gradient_norm;
    if (!report.skipped) return guard_.applied(metrics.loss);
    objection = "the gradient is not finite";
  } else {
    optimizer_->skip_step();
  }
  metrics.skipped = true;
  const std::string suspects =
      record_skipped_step(grid_, config_.run.dir, {metrics.step, objection, metrics.loss, metrics.gradient_norm},
                          data.samples, executor_->losses());
  if (world_.rank() == 0) log::warn("step {} is skipped: {}; samples: {}", metrics.step, objection, suspects);
  check(!guard_.skipped(),
        "{} steps in a row were skipped; the last, {}: {}. Samples: {}. All are in {}/skipped_steps.jsonl; lower the "
        "learning rate, or name bad samples in data.quarantine",
        config_.train.most_skipped, metrics.step, objection, suspects, config_.run.dir);
}

std::optional<double> Trainer::validate() {
  const TraceSpan span("validate", "train");
  double loss = 0, tokens = 0;
  validation_->seek(0, 0);
  const std::int64_t steps = std::min(validation_->steps_per_pass(), config_.train.validation_steps);
  for (std::int64_t i = 0; i < steps; ++i) {
    const StepData data = validation_->next();
    loss += executor_->run(layout_.validation, data.batches);
    tokens += static_cast<double>(data.counts.label_tokens);
    stopping_ = stopping_ || any(stop_request_.asked());
    if (stopping_) return std::nullopt;
  }
  const std::vector<double> total = sum_over(world_, {loss, tokens});
  check(total[1] > 0, "the validation set has no answer to score");
  return total[0] / total[1];
}

void Trainer::start_from_checkpoint() {
  const Resumed resumed = resume(config_, checkpoint_info(0).frozen, *optimizer_, world_);
  if (resumed.from) {
    const CheckpointInfo& info = resumed.from->info;
    first_step_ = info.step;
    first_place_ = info.position;
    log_->restore_totals(info.metrics);
    const nlohmann::json metrics = nlohmann::json::parse(info.metrics, nullptr, false);
    if (metrics.is_object() && metrics.contains("guard")) guard_.restore(metrics["guard"]);
  }
  const Retention keep{config_.train.keep_checkpoints, config_.train.keep_every};
  checkpointer_ = std::make_unique<Checkpointer>(checkpoint_folder(config_.run.dir), keep, *optimizer_,
                                                 checkpoint_info(first_step_), resumed.damaged);
}

std::int64_t Trainer::place(std::int64_t step) const {
  return first_place_ + (step - first_step_) * config_.train.global_batch;
}

CheckpointInfo Trainer::checkpoint_info(std::int64_t done) const {
  CheckpointInfo info;
  info.step = done;
  info.updates = optimizer_->steps();
  info.seed = config_.run.seed;
  info.position = place(done);
  info.frozen = {{"model", assembly_.frozen_hash}};
  std::error_code unknown;
  for (const std::string& file : assembly_.files) {
    info.origins.push_back({file, std::filesystem::file_size(file, unknown), 0});
  }
  info.config = to_ini(config_);
  info.code_version = code_version();
  nlohmann::json metrics = nlohmann::json::parse(log_->totals());
  metrics["guard"] = guard_.state();
  info.metrics = metrics.dump();
  info.grid = fmt::format("{} data-parallel x {} pipeline ranks, ZeRO stage {}", layout_.grid.data,
                          layout_.grid.pipeline, config_.parallel.zero);
  return info;
}

// The trained weights alone, in the compute dtype: what eval, chat and other tools load.
void Trainer::export_trained() {
  NamedTensors tensors;
  gather_states(*optimizer_, StateParts::master, [&](const WholeState& state) {
    tensors.emplace_back(state.name, Tensor::from(state.master, state.shape).to(assembly_.model->dtype()));
  });
  if (world_.rank() != 0) return;
  write_safetensors(config_.run.dir + "/trained.safetensors", tensors,
                    {{"format", "pt"}, {"frozen", fmt::format("{:016x}", assembly_.frozen_hash)}});
}

// Since the start, in messages and collectives.
double Trainer::blocked_seconds() const {
  const double gathers = assembly_.shards ? assembly_.shards->counts().blocked() : 0;
  return world_.counts().blocked() + grid_.data().counts().blocked() + grid_.pipeline().counts().blocked() + gathers;
}

// True on every rank if it is true on one.
bool Trainer::any(bool mine) { return sum_over(world_, {mine ? 1.0 : 0.0})[0] > 0; }

// True on every rank if it is true on rank 0, whose clock decides.
bool Trainer::rank_0_says(bool mine) {
  const Tensor flag = Tensor::full({1}, DType::f32, mine ? 1 : 0);
  world_.broadcast(flag, 0);
  return flag.item() != 0;
}

}  // namespace skymm
