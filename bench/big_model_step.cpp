// One training step, or a few, of a model from files of weights, on a pipeline of as many ranks as mpirun starts: what
// bench/big_model runs and watches. Rank 0 prints one line of JSON.
//
//   mpirun -np 2 bench_big_model_step --weights llm.safetensors,vit.safetensors [--decoder llama-13b]
//          [--vision clip-vit-l14] [--format nf4-double|nf4|int8|dtype] [--samples 1] [--micro-batches 1] [--steps 1]
//          [--text 64] [--visual 64] [--packing forward] [--recompute full]
// What --recompute has computed again in backward is not counted as useful work.
#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "bench/recipe_step.hpp"
#include "core/error.hpp"
#include "launch/assembly/model_loading.hpp"
#include "launch/training/peak.hpp"
#include "launch/training/ranks_report.hpp"
#include "ops/models/cost.hpp"
#include "parallel/communicator.hpp"
#include "parallel/grid.hpp"
#include "parallel/pipeline/batches.hpp"
#include "parallel/pipeline/executor.hpp"
#include "parallel/pipeline/partition.hpp"

namespace skymm {
namespace {

using Options = std::map<std::string, std::string>;
using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> words;
  std::istringstream text(list);
  for (std::string word; std::getline(text, word, ',');) words.push_back(word);
  return words;
}

double sum_over(Communicator& world, double value) {
  const Tensor x = Tensor::from(std::vector{value}, {1});
  world.all_reduce(x);
  return x.item();
}

// The model on a pipeline of all ranks, a chunk a stage.
class Step {
 public:
  Step(const Options& options, Communicator& world)
      : samples_{.count = std::stoll(options.at("samples")),
                 .visual_tokens = std::stoll(options.at("visual")),
                 .text_tokens = std::stoll(options.at("text"))},
        micro_batches_(std::stoi(options.at("micro-batches"))),
        world_(world),
        config_(bench::step_config({.decoder = options.at("decoder"),
                                    .vision = options.at("vision"),
                                    .format = options.at("format"),
                                    .packing = options.at("packing"),
                                    .recompute = options.at("recompute")},
                                   samples_.visual_tokens)),
        grid_(world, {1, world.size()}, GridOrder::pipeline_inside),
        pieces_(partition(costs(), {world.size(), 1})) {
    check(samples_.count % micro_batches_ == 0, "--samples {} do not fill --micro-batches {}", samples_.count,
          micro_batches_);
    const PurposeScope purpose(Purpose::weights);
    const std::vector<BlockRange> own = pieces_of_stage(pieces_, world.size(), grid_.place().stage);
    model_ = std::make_unique<Multimodal>(config_, DType::bf16, cpu(), own);
    load_and_freeze(*model_, WeightLoader({}, split(options.at("weights")), 1), grid_.data(), true);
    optimizer_ = std::make_unique<Optimizer>(std::vector<std::vector<NamedParameter>>{trainable_parameters(*model_)},
                                             OptimizerOptions{}, ZeroOptions{}, grid_.data(), world);
    executor_ = std::make_unique<Executor>(*model_, pieces_, grid_.pipeline(), *optimizer_);
    schedule_ = make_schedule(ScheduleKind::one_f_one_b, {world.size(), micro_batches_, 1});
  }

  // The mean loss.
  double run() {
    std::vector<Batch> batches;
    if (grid_.first_stage()) {
      batches.assign(static_cast<std::size_t>(micro_batches_),
                     bench::synthetic_batch(config_, each().shape(), DType::bf16, 1));
    }
    const double loss = executor_->run(schedule_, share_batches(grid_.pipeline(), batches));
    const auto labels = static_cast<double>(samples_.count * samples_.text_tokens);
    optimizer_->step(1e-4F, labels);
    return sum_over(world_, loss) / labels;
  }

  double tokens() const { return static_cast<double>(samples_.tokens()); }
  double gflop() const { return bench::step_flops(config_, samples_) / 1e9; }

 private:
  bench::StepSamples each() const {
    return {samples_.count / micro_batches_, samples_.visual_tokens, samples_.text_tokens};
  }

  std::vector<BlockCost> costs() const {
    const bench::StepSamples micro = each();
    const StepCounts counts{.tokens = micro.tokens(),
                            .labels = micro.count * micro.text_tokens,
                            .images = micro.count,
                            .resampled = micro.count,
                            .mean_length = static_cast<double>(micro.visual_tokens + micro.text_tokens)};
    return block_costs(config_, counts, compute_form(DType::bf16, cpu()));
  }

  bench::StepSamples samples_;
  int micro_batches_;
  Communicator& world_;
  MultimodalConfig config_;
  Grid grid_;
  std::vector<BlockRange> pieces_;
  std::unique_ptr<Multimodal> model_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<Executor> executor_;
  Schedule schedule_;
};

int run(const Options& options) {
  const std::unique_ptr<Communicator> ranks = world();
  const auto start = Clock::now();
  Step step(options, *ranks);
  const double load = since(start);
  ranks->barrier();
  const double peak = sum_over(*ranks, measured_gemm_peak(DType::bf16));
  std::vector<double> seconds;
  double loss = 0, cpu_seconds = 1e30;
  for (int i = 0; i < std::max(1, std::stoi(options.at("steps"))); ++i) {
    ranks->barrier();
    const auto begin = Clock::now();
    const std::clock_t cpu_begin = std::clock();
    loss = step.run();
    ranks->barrier();
    seconds.push_back(since(begin));
    const double cpu = static_cast<double>(std::clock() - cpu_begin) / CLOCKS_PER_SEC;
    cpu_seconds = std::min(cpu_seconds, sum_over(*ranks, cpu) / (omp_get_max_threads() * ranks->size()));
  }
  const std::string memory = memory_table(*ranks);
  if (ranks->rank() != 0) return 0;
  std::fprintf(stderr, "%s", memory.c_str());
  const double best = *std::ranges::min_element(seconds), gflops = step.gflop() / best;
  fmt::print(
      "{{\"decoder\": \"{}\", \"format\": \"{}\", \"ranks\": {}, \"threads\": {}, \"tokens\": {:.0f}, "
      "\"load_s\": {:.1f}, \"step_s\": {:.2f}, \"tokens_per_s\": {:.1f}, \"gflop\": {:.0f}, \"gflops\": {:.1f}, "
      "\"gemm_peak_gflops\": {:.1f}, \"share_of_peak\": {:.3f}, \"cpu_gflops\": {:.1f}, \"loss\": {:.3f}}}\n",
      options.at("decoder"), options.at("format"), ranks->size(), omp_get_max_threads(), step.tokens(), load, best,
      step.tokens() / best, step.gflop(), gflops, peak, gflops / peak, step.gflop() / cpu_seconds, loss);
  return 0;
}

}  // namespace
}  // namespace skymm

int main(int argc, char** argv) {
  skymm::Options options{
      {"decoder", "llama-13b"}, {"vision", "clip-vit-l14"}, {"format", "nf4-double"}, {"weights", ""},
      {"samples", "1"},         {"micro-batches", "1"},     {"steps", "1"},           {"text", "64"},
      {"visual", "64"},         {"packing", "forward"},     {"recompute", "full"}};
  return skymm::run_ranks([&] {
    for (int i = 1; i < argc; i += 2) {
      const std::string name = std::string(argv[i]).substr(std::min<std::size_t>(2, std::string(argv[i]).size()));
      skymm::check(options.contains(name) && i + 1 < argc, "unknown option or no value: {}", argv[i]);
      options[name] = argv[i + 1];
    }
    return skymm::run(options);
  });
}
