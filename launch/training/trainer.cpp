#include "launch/training/trainer.hpp"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "core/error.hpp"
#include "core/log.hpp"
#include "core/trace.hpp"
#include "io/checkpoint_folder.hpp"
#include "io/file.hpp"
#include "io/weights/safetensors.hpp"
#include "launch/assembly/pretrained.hpp"
#include "launch/config/version.hpp"
#include "launch/evaluation/live_evaluation.hpp"
#include "launch/training/checkpointer.hpp"
#include "launch/training/peak.hpp"
#include "launch/training/ranks_report.hpp"
#include "launch/training/resume.hpp"
#include "launch/training/run_log.hpp"
#include "launch/training/run_start.hpp"
#include "launch/training/step_loader.hpp"
#include "launch/training/suspects.hpp"
#include "parallel/job.hpp"
#include "parallel/pipeline/executor.hpp"
#include "parallel/pipeline/partition.hpp"
#include "parallel/watchdog.hpp"
#include "parallel/zero/states.hpp"

namespace skymm {
namespace {

std::vector<double> sum_over(Communicator& world, const std::vector<double>& values) {
  const Tensor x = Tensor::from(values, {static_cast<std::int64_t>(values.size())});
  world.all_reduce(x);
  return x.to_vector<double>();
}

// As rank 0's launcher says it: all ranks must cut the model alike.
int ranks_of_a_node(Communicator& world) {
  const Tensor ranks = Tensor::from(std::vector<std::int64_t>{read_job().local_ranks}, {1});
  world.broadcast(ranks, 0);
  return static_cast<int>(ranks.to_vector<std::int64_t>()[0]);
}

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

}  // namespace

Trainer::Trainer(const TrainConfig& config, Communicator& world)
    : config_(config),
      tokenizer_(load_tokenizer(tokenizer_path(config.model))),
      layout_(
          make_layout(config_, model_config(config_, tokenizer_->vocab_size()), world.size(), ranks_of_a_node(world))),
      grid_(world, layout_.grid, layout_.order),
      world_(world),
      assembly_(assemble(config_, tokenizer_,
                         pieces_of_stage(layout_.pieces, layout_.grid.pipeline, grid_.place().stage), grid_.pipeline(),
                         grid_.data())),
      guard_({config_.train.spike_zscore, config_.train.most_skipped}),
      stragglers_(grid_,
                  [this](const StepCounts& counts) {
                    return stage_work(config_, assembly_.model->config(), layout_.pieces, counts);
                  }),
      stop_request_(config_.run.save_before_end, world.rank() == 0 ? job_end_time() : std::nullopt) {
  loader_ = std::make_unique<StepLoader>(config_, assembly_, grid_, true);
  if (!config_.data.validation.empty()) validation_ = std::make_unique<StepLoader>(config_, assembly_, grid_, false);
  if (config_.train.evaluate_every > 0) evaluation_ = std::make_unique<LiveEvaluation>(config_);
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
  say_layout(1e9 * peak / world_.size());
  if (peak > 0) {
    log::info("measured GEMM peak: {:.0f} GFLOP/s in {} over {} ranks", peak, config_.model.dtype, world_.size());
  }
  log_ = std::make_unique<RunLog>(config_, world_.rank() == 0, peak);
}

Trainer::~Trainer() = default;

void Trainer::say_layout(double operations) const {
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
    log::info("schedule {}, {} micro-batches; the work of one in each piece{}\n{}", name_of(kind), shape.micro_batches,
              operations > 0 ? " at the measured GEMM peak" : "",
              partition_table(assembly_.model->config(), layout_.costs, layout_.pieces, shape.stages, operations));
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
    stop_request_.saving_takes(checkpointer_->seconds_to_save());
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
    const bool saves = last || stopping_ || done % config_.train.checkpoint_every == 0;
    if (saves) {
      checkpointer_->begin(checkpoint_info(done));
      const bool goes_on = !last && !stopping_;
      if (config_.run.trace && goes_on) write_trace(world_, config_.run.dir + "/trace.json");  // what a crash leaves
    }
    if (evaluation_ && !stopping_ && (last || done % config_.train.evaluate_every == 0)) {
      evaluate(done);  // which may take long: what is to be saved is on its way by now
      if (stopping_ && !saves) checkpointer_->begin(checkpoint_info(done));
    }
    if (stopping_ && !last) return stop(done);
    if (out_of_time) {
      log::info("the time limit of {} minutes is reached after step {}", config_.train.time_limit_minutes, done);
      break;
    }
  }
  return end();
}

// The checkpoint after step `done` has begun.
RunEnd Trainer::stop(std::int64_t done) {
  if (checkpointer_->finish()) {
    say_stop(done);
    return RunEnd::stopped;
  }
  const std::int64_t before = checkpointer_->newest();
  check(before >= 0,
        "asked to stop after step {}, but its checkpoint could not be written, and there is none before it: make room "
        "on the disk of {} before it is started again",
        done, config_.run.dir);
  if (world_.rank() == 0) {
    log::error(
        "asked to stop after step {}, whose checkpoint could not be written: the same command goes on after "
        "step {}",
        done, before);
  }
  return RunEnd::stopped_unsaved;
}

RunEnd Trainer::end() {
  const bool saved = checkpointer_->finish();
  export_trained();
  const std::int64_t before = saved ? -1 : checkpointer_->newest();
  if (!saved && world_.rank() == 0) {
    log::error(
        "the run is at its end, but THE LAST CHECKPOINT IS NOT WRITTEN: {}/trained.safetensors has the weights; "
        "AdamW's moments are lost. To have them, make room and give the same command, which goes on {}",
        config_.run.dir, before < 0 ? "from the start" : fmt::format("after step {}", before));
  }
  Device& device = assembly_.model->device();
  log::info("the most memory that a rank used, MiB\n{}", memory_table(world_, assembly_.shared, device));
  if (&device != &cpu()) log::info("and of the host, MiB\n{}", memory_table(world_));
  return saved ? RunEnd::done : RunEnd::done_unsaved;
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
  StepData data = loader_->next();
  const double loss = executor_->run(layout_.training, std::move(data.batches), data.pictures);
  const double blocked = blocked_seconds();
  std::vector<double> mine = {loss,
                              static_cast<double>(data.counts.label_tokens),
                              static_cast<double>(data.counts.tokens),
                              static_cast<double>(data.counts.images),
                              static_cast<double>(data.bad_samples),
                              static_cast<double>(data.cut),
                              data.gflop,
                              blocked - blocked_before + blocked_in_update_,
                              stop_request_.asked() ? 1.0 : 0.0};
  mine.insert(mine.end(), data.counts.languages.begin(), data.counts.languages.end());
  mine.insert(mine.end(), data.counts.polarities.begin(), data.counts.polarities.end());
  const std::size_t waits = mine.size();  // a place a rank: a sum that gathers
  mine.resize(waits + static_cast<std::size_t>(world_.size()));
  mine[waits + static_cast<std::size_t>(world_.rank())] = data.waited_seconds;
  const std::vector<double> total = sum_over(world_, mine);
  stopping_ = stopping_ || total[8] > 0;
  StepMetrics metrics;
  metrics.step = number + 1;
  metrics.loss = total[0] / total[1];  // not a number where there is no answer to learn
  metrics.learning_rate = learning_rate(config_, number);
  update(metrics, total[1], data);
  blocked_in_update_ = blocked_seconds() - blocked;
  metrics.tokens = total[2];
  metrics.images = total[3];
  metrics.bad_samples = static_cast<std::int64_t>(total[4]);
  metrics.cut = static_cast<std::int64_t>(total[5]);
  metrics.gflop = total[6];
  metrics.communication_seconds = total[7] / world_.size();
  std::copy_n(total.begin() + 9, 3, metrics.languages.begin());
  std::copy_n(total.begin() + 12, 3, metrics.polarities.begin());
  metrics.data_wait_seconds = *std::max_element(total.begin() + static_cast<std::ptrdiff_t>(waits), total.end());
  metrics.seconds = since(start);
  const double samples = std::accumulate(metrics.languages.begin(), metrics.languages.end(), 0.0);
  const auto images = static_cast<std::int64_t>(metrics.images);
  stragglers_.add(metrics.seconds - (blocked_seconds() - blocked_before),
                  {.tokens = static_cast<std::int64_t>(metrics.tokens),
                   .labels = static_cast<std::int64_t>(total[1]),
                   .images = config_.data.features ? 0 : images,
                   .resampled = images,
                   .mean_length = metrics.tokens / std::max(1.0, samples)});
  return metrics;
}

// Changes the weights, or lets the step pass without: all ranks the same, by what they all know.
void Trainer::update(StepMetrics& metrics, double label_tokens, const StepData& data) {
  const bool without_answers = label_tokens == 0;  // of all ranks
  std::string objection = without_answers ? "no sample of it has an answer to learn" : guard_.objection(metrics.loss);
  if (objection.empty()) {
    const StepReport report = optimizer_->step(static_cast<float>(metrics.learning_rate), label_tokens);
    metrics.gradient_norm = report.gradient_norm;
    if (!report.skipped) return guard_.applied(metrics.loss);
    objection = "the gradient is not finite";
  } else {
    optimizer_->skip_step();
  }
  metrics.skipped = true;
  const std::string suspects = record_skipped_step(
      grid_, config_.run.dir, {metrics.step, objection, metrics.loss, metrics.gradient_norm, without_answers},
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
    StepData data = validation_->next();
    loss += executor_->run(layout_.validation, std::move(data.batches), data.pictures);
    tokens += static_cast<double>(data.counts.label_tokens);
    stopping_ = stopping_ || any(stop_request_.asked());
    if (stopping_) return std::nullopt;
  }
  const std::vector<double> total = sum_over(world_, {loss, tokens});
  check(total[1] > 0, "the validation set has no answer to score");
  return total[0] / total[1];
}

// Each rank answers a share by itself, with the weights as they are, and learns nothing: no gradient, no dropout, no
// random number. A rank may wait long for one whose answers are longer.
void Trainer::evaluate(std::int64_t done) {
  const TraceSpan span("evaluate", "train");
  const UnlimitedWaits waits;
  constexpr int chunk = 0;  // the only one: the model is not cut
  optimizer_->gather_weights(chunk);
  optimizer_->wait_weights(chunk);
  Answerer who(config_, assembly_);
  who.stop = [this] {
    checkpointer_->poll();
    return stopping_ = stopping_ || any(stop_request_.asked());
  };
  const auto figures = evaluation_->ask(who, world_, done);
  optimizer_->release_weights(chunk);
  if (figures) log_->evaluation(done, *figures);
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

// The trained weights alone, in the compute dtype, with what they mean nothing without: what later stages, eval, chat
// and other tools load.
void Trainer::export_trained() {
  NamedTensors tensors;
  gather_states(*optimizer_, StateParts::master, [&](const WholeState& state) {
    tensors.emplace_back(state.name, Tensor::from(state.master, state.shape).to(assembly_.model->dtype()));
  });
  if (world_.rank() != 0) return;
  std::map<std::string, std::string> metadata = trained_settings(config_.model);
  metadata.insert(assembly_.frozen_parts.begin(), assembly_.frozen_parts.end());
  metadata["format"] = "pt";
  write_safetensors(config_.run.dir + "/trained.safetensors", tensors, metadata);
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
