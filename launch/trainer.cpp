#include "launch/trainer.hpp"

#include <chrono>
#include <filesystem>
#include <map>

#include "core/error.hpp"
#include "core/log.hpp"
#include "core/trace.hpp"
#include "io/checkpoint.hpp"
#include "io/dataset_source.hpp"
#include "io/file.hpp"
#include "io/loader.hpp"
#include "io/weights/safetensors.hpp"
#include "launch/batches.hpp"
#include "launch/peak.hpp"
#include "launch/run_log.hpp"
#include "ops/models/cost.hpp"
#include "parallel/zero/states.hpp"

namespace skymm {
namespace {

std::unique_ptr<Loader> make_loader(const TrainConfig& config, const Assembly& assembly, const Communicator& world,
                                    bool training) {
  std::vector<std::shared_ptr<const SampleSource>> sources;
  MixtureOptions mixture{.seed = config.run.seed, .shuffle = training};
  for (const SourceConfig& source : training ? config.data.train : config.data.validation) {
    sources.push_back(std::make_shared<DatasetSource>(std::make_shared<Dataset>(source.path)));
    if (training) mixture.source_weights.push_back(source.weight);
  }
  if (training) mixture.language_weights = {1, config.data.english_weight, config.data.chinese_weight};
  LoaderOptions options;
  options.global_batch = config.train.global_batch;
  options.micro_batch = config.train.micro_batch;
  options.rank = world.rank();
  options.ranks = world.size();
  options.seed = config.run.seed;
  options.augment = training && config.data.augment;
  options.wrap = training;
  options.negative_share = training ? config.data.negatives : 1.0;
  options.threads = config.data.workers;
  return std::make_unique<Loader>(std::make_shared<Mixture>(sources, mixture), assembly.prompts(config),
                                  assembly.images, options);
}

std::vector<double> sum_over(Communicator& world, const std::vector<double>& values) {
  const Tensor x = Tensor::from(values, {static_cast<std::int64_t>(values.size())});
  world.all_reduce(x);
  return x.to_vector<double>();
}

// The useful work of this rank's micro-batches.
double useful_gflop(const MultimodalConfig& model, const std::vector<MicroBatch>& batches) {
  StepCounts counts;
  double squares = 0;
  for (const MicroBatch& batch : batches) {
    if (batch.label_rows.empty()) continue;  // not computed
    counts.tokens += static_cast<std::int64_t>(batch.tokens.size());
    counts.labels += static_cast<std::int64_t>(batch.label_rows.size());
    counts.images += batch.counts.images;
    for (std::size_t s = 1; s < batch.sequence_offsets.size(); ++s) {
      const double length = batch.sequence_offsets[s] - batch.sequence_offsets[s - 1];
      squares += length * length;
    }
  }
  if (counts.tokens == 0) return 0;
  counts.resampled = counts.images;
  counts.mean_length = squares / static_cast<double>(counts.tokens);
  return 1e-9 * step_cost(model, counts).total();
}

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

}  // namespace

Trainer::Trainer(const TrainConfig& config, Communicator& world)
    : config_(config), world_(world), assembly_(assemble(config)) {
  const std::string table = trainable_table(*assembly_.model);
  log::info("{}", table);
  loader_ = make_loader(config_, assembly_, world_, true);
  if (!config_.data.validation.empty()) validation_ = make_loader(config_, assembly_, world_, false);
  optimizer_ = std::make_unique<Optimizer>(trainable_parameters(*assembly_.model), optimizer_options(config_), world_);
  world_.barrier();  // ranks that share a machine measure together what each of them gets
  const double peak = sum_over(world_, {measured_gemm_peak(assembly_.model->dtype())})[0];
  log::info("measured GEMM peak: {:.0f} GFLOP/s in {} over {} ranks", peak, config_.model.dtype, world_.size());
  log_ = std::make_unique<RunLog>(config_, world_.rank() == 0, peak);
  if (world_.rank() == 0) write_file(config_.run.dir + "/trainable.txt", table);
}

Trainer::~Trainer() = default;

void Trainer::run() {
  resume();
  loader_->seek(first_step_);
  const auto start = Clock::now();
  for (std::int64_t number = first_step_; number < config_.train.steps; ++number) {
    log_->step(step(number));
    const std::int64_t done = number + 1;
    const bool out_of_time =
        config_.train.time_limit_minutes > 0 && agree(since(start) > 60 * config_.train.time_limit_minutes);
    const bool last = done == config_.train.steps || out_of_time;
    if (validation_ && (last || done % config_.train.validate_every == 0)) log_->validation(done, validate());
    if (last || done % config_.train.checkpoint_every == 0) checkpoint(done);
    if (last) export_trained();
    if (out_of_time) {
      log::info("the time limit of {} minutes is reached after step {}", config_.train.time_limit_minutes, done);
      break;
    }
  }
}

// One optimizer step over the global batch. Each micro-batch has a graph of its own, gone before the next begins.
StepMetrics Trainer::step(std::int64_t number) {
  const TraceSpan span("step", "train");
  const auto start = Clock::now();
  const double waited_before = loader_->waited_seconds();
  const MicroBatches batches = loader_->next();
  double loss = 0;
  for (const MicroBatch& host : batches.micro_batches) {
    if (host.label_rows.empty()) continue;  // holes only: nothing to learn from
    const Batch batch = to_batch(host, assembly_.images.size, assembly_.model->dtype(), config_.run.seed, number, true);
    Graph graph;
    const Variable sum = assembly_.model->loss(graph, batch);
    graph.backward(sum, Tensor::full({1}, DType::f32, 1));
    loss += sum.value().item();
  }
  const BatchCounts& counts = batches.counts;
  const std::vector<double> total =
      sum_over(world_, {loss, static_cast<double>(counts.label_tokens), static_cast<double>(counts.tokens),
                        static_cast<double>(counts.images), static_cast<double>(loader_->totals().bad()),
                        useful_gflop(assembly_.model->config(), batches.micro_batches)});
  check(total[1] > 0, "step {}: no sample of the global batch has an answer to learn; see the reasons logged above",
        number);
  StepMetrics metrics;
  metrics.step = number + 1;
  metrics.loss = total[0] / total[1];
  metrics.learning_rate = learning_rate(config_, number);
  const StepReport report = optimizer_->step(static_cast<float>(metrics.learning_rate), total[1]);
  if (report.skipped) log::warn("step {}: the gradient is not finite; no rank changed anything", metrics.step);
  metrics.gradient_norm = report.gradient_norm;
  metrics.skipped = report.skipped;
  metrics.tokens = total[2];
  metrics.images = total[3];
  metrics.bad_samples = static_cast<std::int64_t>(total[4]);
  metrics.gflop = total[5];
  metrics.data_wait_seconds = loader_->waited_seconds() - waited_before;
  metrics.seconds = since(start);
  return metrics;
}

double Trainer::validate() {
  const TraceSpan span("validate", "train");
  double loss = 0, tokens = 0;
  validation_->seek(0);
  const std::int64_t steps = std::min(validation_->steps_per_pass(), config_.train.validation_steps);
  for (std::int64_t i = 0; i < steps; ++i) {
    for (const MicroBatch& host : validation_->next().micro_batches) {
      if (host.label_rows.empty()) continue;
      const Batch batch = to_batch(host, assembly_.images.size, assembly_.model->dtype(), config_.run.seed, 0, false);
      Graph graph(Graph::Mode::inference);
      loss += assembly_.model->loss(graph, batch).value().item();
      tokens += static_cast<double>(host.label_rows.size());
    }
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

// True on every rank if it is true on rank 0, whose clock decides.
bool Trainer::agree(bool mine) {
  const Tensor flag = Tensor::full({1}, DType::f32, mine ? 1 : 0);
  world_.broadcast(flag, 0);
  return flag.item() != 0;
}

}  // namespace skymm
