#include "launch/trainer.hpp"

#include <chrono>
#include <filesystem>
#include <map>

#include "core/error.hpp"
#include "core/log.hpp"
#include "core/trace.hpp"
#include "io/checkpoint.hpp"
#include "io/file.hpp"
#include "io/weights/safetensors.hpp"
#include "launch/peak.hpp"
#include "launch/pretrained.hpp"
#include "launch/ranks_report.hpp"
#include "launch/run_log.hpp"
#include "launch/step_loader.hpp"
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
                         pieces_of_stage(layout_.pieces, layout_.grid.pipeline, grid_.place().stage),
                         grid_.pipeline())),
      stop_request_(config_.run.save_before_end, world.rank() == 0 ? job_end_time() : std::nullopt) {
  say_layout();
  loader_ = std::make_unique<StepLoader>(config_, assembly_, grid_, true);
  if (!config_.data.validation.empty()) validation_ = std::make_unique<StepLoader>(config_, assembly_, grid_, false);
  std::vector<std::vector<NamedParameter>> chunks;
  for (const BlockRange piece : assembly_.model->pieces()) {
    chunks.push_back(trainable_parameters(*assembly_.model, piece));
  }
  optimizer_ = std::make_unique<Optimizer>(std::move(chunks), optimizer_options(config_),
                                           ZeroOptions{config_.parallel.zero}, grid_.data(), world_);
  executor_ = std::make_unique<Executor>(*assembly_.model, layout_.pieces, grid_.pipeline(), *optimizer_,
                                         ExecutorOptions{config_.parallel.overlap});
  world_.barrier();  // ranks that share a machine measure together what each of them gets
  const double peak = sum_over(world_, {measured_gemm_peak(assembly_.model->dtype())})[0];
  log::info("measured GEMM peak: {:.0f} GFLOP/s in {} over {} ranks", peak, config_.model.dtype, world_.size());
  log_ = std::make_unique<RunLog>(config_, world_.rank() == 0, peak);
  if (world_.rank() == 0) write_file(config_.run.dir + "/trainable.txt", assembly_.table);
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
  if (shape.pieces() > 1) {
    log::info("schedule {}, {} micro-batches\n{}", name_of(kind), shape.micro_batches, layout_.table);
  }
}

RunEnd Trainer::run() {
  resume();
  stopping_ = any(stop_request_.asked());
  if (stopping_) {
    say_stop(first_step_);
    return RunEnd::stopped;
  }
  loader_->seek(first_step_);
  const auto start = Clock::now();
  for (std::int64_t number = first_step_; number < config_.train.steps; ++number) {
    log_->step(step(number));
    const std::int64_t done = number + 1;
    const bool out_of_time =
        config_.train.time_limit_minutes > 0 && agree(since(start) > 60 * config_.train.time_limit_minutes);
    const bool last = done == config_.train.steps || out_of_time;
    if (validation_ && (last || done % config_.train.validate_every == 0)) {
      if (const std::optional<double> loss = validate()) log_->validation(done, *loss);
    }
    if (last || stopping_ || done % config_.train.checkpoint_every == 0) checkpoint(done);
    if (last) export_trained();
    if (stopping_ && !last) {
      say_stop(done);
      return RunEnd::stopped;
    }
    if (out_of_time) {
      log::info("the time limit of {} minutes is reached after step {}", config_.train.time_limit_minutes, done);
      break;
    }
  }
  log::info("the most memory that a rank used, MiB\n{}", memory_table(world_));
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
  const std::vector<double> total =
      sum_over(world_, {loss, static_cast<double>(data.counts.label_tokens), static_cast<double>(data.counts.tokens),
                        static_cast<double>(data.counts.images), static_cast<double>(data.bad_samples), data.gflop,
                        blocked - blocked_before + blocked_in_update_, stop_request_.asked() ? 1.0 : 0.0});
  stopping_ = stopping_ || total[7] > 0;
  check(total[1] > 0, "step {}: no sample of the global batch has an answer to learn; see the reasons logged above",
        number);
  StepMetrics metrics;
  metrics.step = number + 1;
  metrics.loss = total[0] / total[1];
  metrics.learning_rate = learning_rate(config_, number);
  const StepReport report = optimizer_->step(static_cast<float>(metrics.learning_rate), total[1]);
  blocked_in_update_ = blocked_seconds() - blocked;
  if (report.skipped) log::warn("step {}: the gradient is not finite; no rank changed anything", metrics.step);
  metrics.gradient_norm = report.gradient_norm;
  metrics.skipped = report.skipped;
  metrics.tokens = total[2];
  metrics.images = total[3];
  metrics.bad_samples = static_cast<std::int64_t>(total[4]);
  metrics.gflop = total[5];
  metrics.communication_seconds = total[6] / world_.size();
  metrics.data_wait_seconds = data.waited_seconds;
  metrics.seconds = since(start);
  return metrics;
}

std::optional<double> Trainer::validate() {
  const TraceSpan span("validate", "train");
  double loss = 0, tokens = 0;
  validation_->seek(0);
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

// Rank 0 reads; the others get their slices from it.
void Trainer::resume() {
  if (config_.run.resume == "none") return;
  std::optional<FoundCheckpoint> found;
  std::map<std::string, const CheckpointTensor*> by_name;
  if (world_.rank() == 0) {
    const bool newest = config_.run.resume == "auto";
    found = newest ? newest_checkpoint(config_.run.dir + "/checkpoints")
                   : FoundCheckpoint{config_.run.resume, load_checkpoint(config_.run.resume)};
  }
  if (!agree(found.has_value())) return;
  if (found) {
    std::vector<ExpectedTensor> expected;
    for (const SpreadTensor& tensor : optimizer_->tensors()) expected.push_back({tensor.name, tensor.shape});
    check_checkpoint(found->checkpoint, found->path, expected, {{"model", assembly_.frozen_hash}});
    for (const CheckpointTensor& tensor : found->checkpoint.tensors) by_name[tensor.name] = &tensor;
  }
  scatter_states(*optimizer_, found ? found->checkpoint.step : 0, [&](const SpreadTensor& tensor) {
    const CheckpointTensor& saved = *by_name.at(tensor.name);
    return WholeState{saved.name, saved.shape, saved.value, saved.m, saved.v};  // no moments: they start anew
  });
  first_step_ = optimizer_->steps();
  if (found) log::info("resumed from {} after step {}", found->path, first_step_);
}

void Trainer::checkpoint(std::int64_t done) {
  const TraceSpan span("checkpoint", "io");
  Checkpoint checkpoint;
  gather_states(*optimizer_, StateParts::all, [&](WholeState state) {
    checkpoint.tensors.push_back(
        {std::move(state.name), state.shape, std::move(state.master), std::move(state.m), std::move(state.v)});
  });
  if (world_.rank() == 0) {
    checkpoint.step = done;
    checkpoint.seed = config_.run.seed;
    checkpoint.position = done * config_.train.global_batch;
    checkpoint.frozen = {{"model", assembly_.frozen_hash}};
    checkpoint.config = to_ini(config_);
    const std::string folder = config_.run.dir + "/checkpoints";
    std::filesystem::create_directories(folder);
    try {
      save_checkpoint(checkpoint_path(folder, done), checkpoint);
      remove_old_checkpoints(folder, config_.train.keep_checkpoints);
    } catch (const Error& error) {  // the run and the checkpoints before it are worth more than this one
      log::error("no checkpoint after step {}: {}", done, error.message());
    }
  }
  world_.barrier();
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
  return world_.counts().blocked() + grid_.data().counts().blocked() + grid_.pipeline().counts().blocked();
}

// True on every rank if it is true on one.
bool Trainer::any(bool mine) { return sum_over(world_, {mine ? 1.0 : 0.0})[0] > 0; }

// True on every rank if it is true on rank 0, whose clock decides.
bool Trainer::agree(bool mine) {
  const Tensor flag = Tensor::full({1}, DType::f32, mine ? 1 : 0);
  world_.broadcast(flag, 0);
  return flag.item() != 0;
}

}  // namespace skymm
