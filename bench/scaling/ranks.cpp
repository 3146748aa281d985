// One rank of a scaling measurement: trains a synthetic model by all cases that its number of ranks allows, round by
// round, and prints on rank 0 a line of JSON for each case and round. bench/scaling/run starts it, and makes tables,
// CSV and pictures of the lines.
//
// In each round all cases take their turn, and so do one rank alone (the others sleep) and plain matrix products on one
// rank and on all: ratios within a round compare what the machine did in the same minute.
#include <fmt/format.h>
#include <omp.h>

#include <chrono>
#include <cstdio>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "bench/scaling/cases.hpp"
#include "bench/synthetic.hpp"
#include "core/error.hpp"
#include "core/log.hpp"
#include "launch/training/peak.hpp"
#include "parallel/communicator.hpp"
#include "parallel/pipeline/batches.hpp"
#include "parallel/pipeline/executor.hpp"
#include "parallel/pipeline/partition.hpp"
#include "parallel/pipeline/simulation.hpp"
#include "parallel/zero/memory.hpp"
#include "parallel/zero/optimizer.hpp"

namespace skymm::bench {
namespace {

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// What a rank reports of a case, a step; summed over ranks but for the seconds of a step, which all share.
struct Measured {
  double step = 0;                                 // seconds, of the slowest rank
  double run = 0, busy = 0;                        // of the schedule: the slowest rank's seconds; computing, summed
  double blocked = 0;                              // seconds, waiting for other ranks
  double data_sent = 0, data_formula = 0;          // bytes, of ZeRO
  double messages_sent = 0, messages_formula = 0;  // bytes, between stages
};

// A model of one case on this rank, ready to train.
class Trainee {
 public:
  Trainee(const Case& one, const Sizes& sizes, Communicator& world)
      : one_(one),
        config_(config_of(one, sizes)),
        world_(world),
        grid_(world, one.grid, GridOrder::pipeline_inside),
        pieces_(pieces_of(one, config_, counts_of(config_, sizes), sizes.dtype)),
        model_(config_, sizes.dtype, cpu(), pieces_of_stage(pieces_, one.grid.pipeline, grid_.place().stage)),
        schedule_(schedule_of(one)) {
    initialize(model_, 1);
    model_.freeze();
    std::vector<std::vector<NamedParameter>> chunks;
    for (const BlockRange piece : model_.pieces()) {
      chunks.push_back(trainable_parameters(model_, piece));
      std::int64_t trained = 0;
      for (const NamedParameter& entry : chunks.back()) trained += entry.parameter->shape.numel();
      trained_.push_back(trained);
    }
    const ZeroOptions zero{.stage = one.zero, .bucket_bytes = bucket_bytes, .overlap = one.overlap};
    optimizer_ = std::make_unique<Optimizer>(std::move(chunks), OptimizerOptions{}, zero, grid_.data(), world_);
    executor_ = std::make_unique<Executor>(model_, pieces_, grid_.pipeline(), *optimizer_,
                                           ExecutorOptions{.overlap = one.overlap});
    for (int i = 0; i < schedule_.shape.micro_batches; ++i) {
      if (!grid_.first_stage()) break;
      const auto number = static_cast<std::uint64_t>(grid_.place().data * schedule_.shape.micro_batches + i);
      batches_.push_back(synthetic_batch(config_, batch_shape(config_, sizes), sizes.dtype, number + 1));
    }
    batches_ = share_batches(grid_.pipeline(), std::move(batches_));
    for (const Batch& batch : batches_) labels_ += static_cast<double>(batch.label_ids.dim(0)) * one.grid.data;
  }

  // The mean of some steps, after one that is not counted.
  Measured measure(int steps) {
    step();
    Measured sum;
    for (int i = 0; i < steps; ++i) {
      const Measured one = step();
      sum.step += one.step / steps;
      sum.run += one.run / steps;
      sum.busy += one.busy / steps;
      sum.blocked += one.blocked / steps;
      sum.data_sent = one.data_sent;
      sum.messages_sent = one.messages_sent;
    }
    sum.data_formula = over_ranks(data_formula());
    sum.messages_formula = over_ranks(grid_.first_stage() ? messages_formula() : 0);
    return sum;
  }

  double tokens() const {
    double tokens = 0;
    for (const Batch& batch : batches_) tokens += static_cast<double>(batch.tokens.dim(0));
    return tokens * one_.grid.data;
  }
  // The share of a pass that stages of equal cost idle by this schedule, in virtual time.
  double bubble_formula(const Sizes& sizes) const {
    const BlockCost all =
        piece_cost(block_costs(config_, counts_of(config_, sizes), compute_form(sizes.dtype, cpu())), {0, blocks()});
    const double share = 1.0 / schedule_.shape.pieces();
    const std::vector<PieceCost> equal(
        static_cast<std::size_t>(schedule_.shape.pieces()),
        {.forward = all.forward * share, .backward = all.backward * share, .weight = all.weight_gradient * share});
    const Timeline timeline = simulate(schedule_, equal);
    return timeline.bubble() / timeline.length;
  }

 private:
  struct Counts {
    double data_sent, messages_sent, blocked;
  };

  std::int64_t blocks() const { return all_blocks(config_).end; }

  Counts counts() const {
    const CommunicationCounts data = grid_.data().counts(), pipeline = grid_.pipeline().counts();
    double sent = 0;
    for (const auto& kind : data.kinds) sent += static_cast<double>(kind.sent);
    const double norm = world_.counts().of(CallKind::all_reduce).blocked;
    return {sent, static_cast<double>(pipeline.of(CallKind::send).sent), data.blocked() + pipeline.blocked() + norm};
  }

  Measured step() {
    world_.barrier();
    const Counts before = counts();
    const double waited_before = grid_.pipeline().counts().blocked() + grid_.data().counts().blocked();
    const auto start = Clock::now();
    executor_->run(schedule_, batches_);
    const double run = since(start);
    const double waited = grid_.pipeline().counts().blocked() + grid_.data().counts().blocked() - waited_before;
    optimizer_->step(1e-4F, labels_);
    const Counts after = counts();
    const double mine = since(start);
    return {.step = slowest(mine),
            .run = slowest(run),
            .busy = over_ranks(run - waited),
            .blocked = over_ranks(after.blocked - before.blocked),
            .data_sent = over_ranks(after.data_sent - before.data_sent),
            .messages_sent = over_ranks(after.messages_sent - before.messages_sent)};
  }

  double over_ranks(double mine) const {
    const Tensor sum = Tensor::full({1}, DType::f64, mine);
    world_.all_reduce(sum);
    return sum.item();
  }
  double slowest(double mine) const {
    const Tensor all = Tensor::empty({world_.size()}, DType::f64);
    world_.all_gather(Tensor::full({1}, DType::f64, mine), all);
    double most = 0;
    for (const double seconds : all.to_vector<double>()) most = std::max(most, seconds);
    return most;
  }

  double data_formula() const {
    int gathers = 0;
    for (const Instruction& i : schedule_.stages[static_cast<std::size_t>(grid_.place().stage)]) {
      gathers += i.kind == Instruction::Kind::gather_weights ? 1 : 0;
    }
    const ZeroTraffic traffic = zero_traffic({.stage = one_.zero, .bucket_bytes = bucket_bytes},
                                             {.chunks = trained_,
                                              .dtype = model_.dtype(),
                                              .ranks = one_.grid.data,
                                              .micro_batches = schedule_.shape.micro_batches,
                                              .gathers = gathers / one_.chunks});
    return static_cast<double>(traffic.gradients + traffic.weights);
  }
  // Of one pipeline: an activation of each micro-batch forwards over each cut between two ranks, and its gradient back.
  double messages_formula() const {
    double bytes = 0;
    for (const Batch& batch : batches_) {
      const BatchSizes sizes = model_.sizes(batch);
      for (std::size_t piece = 1; one_.grid.pipeline > 1 && piece < pieces_.size(); ++piece) {
        const Shape shape = boundary_shape(config_, pieces_[piece].begin, sizes);
        const int times = gradient_crosses(config_, pieces_[piece].begin, sizes) ? 2 : 1;
        bytes += static_cast<double>(times * shape.numel()) * static_cast<double>(size_of(model_.dtype()));
      }
    }
    return bytes;
  }

  static constexpr std::int64_t bucket_bytes = std::int64_t{2} << 20;

  Case one_;
  MultimodalConfig config_;
  Communicator& world_;
  Grid grid_;
  std::vector<BlockRange> pieces_;
  Multimodal model_;
  Schedule schedule_;
  std::vector<std::int64_t> trained_;  // parameters of each chunk
  std::vector<Batch> batches_;
  double labels_ = 0;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<Executor> executor_;
};

void print(const Case& one, int round, int ranks, const Trainee& trainee, const Measured& m, const Sizes& sizes) {
  std::printf(
      "{\"ranks\": %d, \"round\": %d, \"case\": \"%s\", \"group\": \"%s\", \"data\": %d, \"pipeline\": %d, "
      "\"schedule\": \"%s\", \"chunks\": %d, \"zero\": %d, \"overlap\": %s, \"micro_batches\": %d, "
      "\"tokens_per_second\": %.2f, \"step_seconds\": %.6f, \"blocked_seconds\": %.6f, \"bubble\": %.5f, "
      "\"bubble_formula\": %.5f, \"data_sent\": %.0f, \"data_formula\": %.0f, \"messages_sent\": %.0f, "
      "\"messages_formula\": %.0f}\n",
      ranks, round, one.name.c_str(), one.group.c_str(), one.grid.data, one.grid.pipeline,
      std::string(name_of(one.schedule)).c_str(), one.chunks, one.zero, one.overlap ? "true" : "false",
      one.micro_batches, trainee.tokens() / m.step, m.step, m.blocked / one.grid.size(),
      1 - m.busy / (m.run * one.grid.size()), trainee.bubble_formula(sizes), m.data_sent, m.data_formula,
      m.messages_sent, m.messages_formula);
  std::fflush(stdout);
}

// Rank 0 works; the others sleep, so that they take none of the machine from it.
template <class Work>
void on_one_rank(Communicator& world, const Work& work) {
  const Tensor done = Tensor::zeros({1}, DType::f32);
  if (world.rank() == 0) {
    work();
    world.broadcast(done, 0);
    return;
  }
  for (Handle over = world.ibroadcast(done, 0); !over.test();)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

void measure_case(const Case& one, const Sizes& sizes, int round, int ranks, int steps, Communicator& world) {
  Trainee trainee(one, sizes, world);
  const Measured measured = trainee.measure(steps);
  if (world.rank() == 0) print(one, round, ranks, trainee, measured, sizes);
}

void measure_products(Communicator& world, DType dtype, int round) {
  double alone = 0;
  on_one_rank(world, [&] { alone = measured_gemm_peak(dtype, 1); });
  world.barrier();
  const Tensor all = Tensor::full({1}, DType::f64, measured_gemm_peak(dtype, 1));
  world.all_reduce(all);
  if (world.rank() != 0) return;
  std::printf("{\"ranks\": %d, \"round\": %d, \"case\": \"products\", \"gflops_alone\": %.2f, \"gflops\": %.2f}\n",
              world.size(), round, alone, all.item());
}

using Options = std::map<std::string, std::string>;

int measure(const Options& options) {
  const auto number = [&](const char* name) { return std::stoll(options.at(name)); };
  const Sizes sizes{.width = number("width"),
                    .layers = number("layers"),
                    .tokens = number("tokens"),
                    .lora_rank = number("lora-rank"),
                    .dtype = parse_dtype(options.at("dtype"))};
  const int micro_batches = static_cast<int>(number("micro-batches")), steps = static_cast<int>(number("steps"));
  omp_set_num_threads(static_cast<int>(number("threads")));
  set_log_level(LogLevel::warn);
  const std::unique_ptr<Communicator> ranks = world();
  SingleCommunicator single;
  for (int round = 0; round < number("rounds"); ++round) {
    measure_products(*ranks, sizes.dtype, round);
    for (const Case& one : cases_of(ranks->size(), micro_batches, options.at("groups"))) {
      const auto run = [&](Communicator& communicator) {
        measure_case(one, sizes, round, ranks->size(), steps, communicator);
      };
      if (one.grid.size() == ranks->size()) {
        run(*ranks);
      } else {
        on_one_rank(*ranks, [&] { run(single); });
      }
    }
  }
  return 0;
}

}  // namespace
}  // namespace skymm::bench

int main(int argc, char** argv) {
  skymm::bench::Options options{{"rounds", "1"},   {"steps", "2"},         {"threads", "1"},  {"dtype", "bf16"},
                                {"width", "384"},  {"layers", "16"},       {"tokens", "128"}, {"lora-rank", "16"},
                                {"groups", "all"}, {"micro-batches", "16"}};
  return skymm::run_ranks([&] {
    for (int i = 1; i < argc; i += 2) {
      const std::string name = std::string(argv[i]).substr(std::min<std::size_t>(2, std::string(argv[i]).size()));
      skymm::check(options.contains(name) && i + 1 < argc, "unknown option or no value: {}", argv[i]);
      options[name] = argv[i + 1];
    }
    return skymm::bench::measure(options);
  });
}
