// Times how a decoder's weights come from one file to where they compute, on as many ranks as mpirun starts: a
// pipeline, or --data copies of one, whose ranks share their weights. Rank 0 prints one line of JSON.
//
//   skymm weights synthesize --preset tinyllama-1.1b --out llm.safetensors
//   mpirun -np 2 bench_load --weights llm.safetensors [--decoder tinyllama-1.1b] [--packing none|forward|both]
//          [--format dtype|int8|nf4|nf4-double] [--data 1] [--share 1|0]
//
// Once before, so that the file is in the page cache, and once timed. read_share is the bytes that all ranks read over
// those of the file. resident_share, of the rank where it is largest, is the most memory that it had while it loaded,
// over what its weights take; all_resident_share the sum of that over the ranks, over what one copy of all weights
// takes; pss_share the sum of their proportional set sizes afterwards, once every rank has computed with every weight;
// forward_s what that took (16 tokens), without a pipeline.
// page_cache_gb_per_s is what a plain copy out of the mapped file reaches, by all ranks at once.
#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "bench/recipe_step.hpp"
#include "core/error.hpp"
#include "io/mapped_file.hpp"
#include "launch/assembly/model_loading.hpp"
#include "ops/models/cost.hpp"
#include "parallel/communicator.hpp"
#include "parallel/grid.hpp"
#include "parallel/pipeline/partition.hpp"

namespace skymm {
namespace {

using Options = std::map<std::string, std::string>;
using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double sum_over(Communicator& world, double value) {
  const Tensor x = Tensor::from(std::vector{value}, {1});
  world.all_reduce(x);
  return x.item();
}

double largest_over(Communicator& world, double value) {
  const Tensor all = Tensor::empty({world.size()}, DType::f64);
  world.all_gather(Tensor::from(std::vector{value}, {1}), all);
  return std::ranges::max(all.to_vector<double>());
}

double bytes_of(const std::string& path, const std::string& key) {  // of a file of /proc, in bytes
  std::ifstream status(path);
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key + ":")) return 1024 * std::stod(line.substr(key.size() + 1));
  }
  return 0;
}
double resident_bytes(const std::string& key) { return bytes_of("/proc/self/status", key); }
double proportional_bytes() { return bytes_of("/proc/self/smaps_rollup", "Pss"); }

// Seconds of a forward pass over 16 tokens, the best of three: it reads every weight, as steps of training do.
double forward_seconds(Multimodal& model) {
  const bench::BatchShape shape{.text = 16, .labels = 15};
  const Batch batch = bench::synthetic_batch(model.config(), shape, DType::bf16, 1);
  double best = 1e30;
  for (int i = 0; i < 3; ++i) {
    const auto start = Clock::now();
    Graph graph(Graph::Mode::inference);
    check(std::isfinite(model.loss(graph, batch).value().item()), "the weights in the file are not finite");
    best = std::min(best, since(start));
  }
  return best;
}

struct Loaded {
  double seconds = 0, read = 0, file = 0;
  double forward = 0;                        // seconds; where there is no pipeline
  double weights = 0, needed = 0, kept = 0;  // bytes: of the weights here, of memory at most, of proportional set size
};

Loaded load(const MultimodalConfig& config, const BlockRange& piece, const Options& options, const Grid& grid) {
  Loaded loaded;
  Communicator& world = grid.world();
  const std::shared_ptr<const WeightSource> file = open_weights(options.at("weights"));
  const std::vector<BlockCost> costs = block_costs(config, {}, compute_form(DType::bf16, cpu()));
  loaded.weights = piece_cost(costs, piece).weights;
  Multimodal model(config, DType::bf16, cpu(), {piece});
  cpu().allocator().trim();
  std::ofstream("/proc/self/clear_refs") << "5";  // the largest size is counted anew
  const double before = resident_bytes("VmRSS"), kept_before = proportional_bytes();
  world.barrier();
  const auto start = Clock::now();
  const WeightLoader loader({bind_decoder(config.decoder, file)}, {}, 1);
  load_and_freeze(model, loader, grid.data(), options.at("share") == "1");
  world.barrier();
  loaded.seconds = since(start);
  loaded.needed = resident_bytes("VmHWM") - before;
  loaded.read = static_cast<double>(file->bytes_read());
  for (const WeightEntry& entry : file->entries()) loaded.file += static_cast<double>(entry.end - entry.begin);
  if (grid.shape().pipeline == 1) loaded.forward = forward_seconds(model);
  world.barrier();
  cpu().allocator().trim();
  loaded.kept = proportional_bytes() - kept_before;
  world.barrier();
  return loaded;
}

// Bytes a second of copies of this rank's part of the file.
double page_cache_rate(const std::string& path, Communicator& world) {
  const MappedFile file(path);
  constexpr std::uint64_t piece = 1 << 20;
  const std::uint64_t each = file.size() / static_cast<std::uint64_t>(world.size());
  const std::uint64_t first = each * static_cast<std::uint64_t>(world.rank());
  const auto pieces = static_cast<std::int64_t>(each / piece);
  std::vector<std::vector<char>> to(static_cast<std::size_t>(omp_get_max_threads()), std::vector<char>(piece));
  world.barrier();
  const auto start = Clock::now();
#pragma omp parallel for schedule(static)
  for (std::int64_t i = 0; i < pieces; ++i) {
    std::memcpy(to[static_cast<std::size_t>(omp_get_thread_num())].data(),
                file.data() + first + static_cast<std::uint64_t>(i) * piece, piece);
  }
  world.barrier();
  return static_cast<double>(each) * world.size() / since(start);
}

int run(const Options& options) {
  check(options.at("share") == "1" || options.at("share") == "0", "--share takes 1 or 0, not {}", options.at("share"));
  const std::unique_ptr<Communicator> ranks = world();
  MultimodalConfig config;
  config.decoder = decoder_preset(options.at("decoder"));
  config.packing = bench::parse_packing(options.at("packing"));
  config.quantization = bench::parse_format(options.at("format"));
  const std::int64_t blocks = all_blocks(config).size();
  const int data = std::stoi(options.at("data"));
  const Grid grid(*ranks,
                  resolve_grid(ranks->size(), data, ranks->size() / std::max(1, data), static_cast<int>(blocks)),
                  GridOrder::pipeline_inside);
  const std::int64_t stage = grid.place().stage, stages = grid.shape().pipeline;
  const BlockRange piece{blocks * stage / stages, blocks * (stage + 1) / stages};
  load(config, piece, options, grid);
  const double rate = page_cache_rate(options.at("weights"), *ranks);
  cpu().allocator().trim();
  const Loaded loaded = load(config, piece, options, grid);
  const double once = sum_over(*ranks, loaded.weights) / data;
  const double read = sum_over(*ranks, loaded.read), resident = largest_over(*ranks, loaded.needed / loaded.weights);
  const double needed = sum_over(*ranks, loaded.needed), kept = sum_over(*ranks, loaded.kept);
  const double forward = largest_over(*ranks, loaded.forward);
  if (ranks->rank() != 0) return 0;
  fmt::print(
      "{{\"file_gb\": {:.2f}, \"data\": {}, \"pipeline\": {}, \"threads\": {}, \"packing\": \"{}\", \"format\": "
      "\"{}\", "
      "\"share\": {}, \"seconds\": {:.2f}, \"gb_per_s\": {:.1f}, \"page_cache_gb_per_s\": {:.1f}, \"read_share\": "
      "{:.4f}, "
      "\"weights_gb\": {:.2f}, \"resident_share\": {:.3f}, \"all_resident_share\": {:.3f}, \"pss_share\": {:.3f}, "
      "\"forward_s\": {:.3f}}}\n",
      loaded.file / 1e9, data, stages, omp_get_max_threads(), options.at("packing"), options.at("format"),
      options.at("share"), loaded.seconds, loaded.file / loaded.seconds / 1e9, rate / 1e9, read / loaded.file,
      once / 1e9, resident, needed / once, kept / once, forward);
  return 0;
}

}  // namespace
}  // namespace skymm

int main(int argc, char** argv) {
  skymm::Options options{{"weights", ""},     {"decoder", "tinyllama-1.1b"},
                         {"packing", "none"}, {"format", "dtype"},
                         {"data", "1"},       {"share", "1"}};
  return skymm::run_ranks([&] {
    for (int i = 1; i < argc; i += 2) {
      const std::string name = std::string(argv[i]).substr(std::min<std::size_t>(2, std::string(argv[i]).size()));
      skymm::check(options.contains(name) && i + 1 < argc, "unknown option or no value: {}", argv[i]);
      options[name] = argv[i + 1];
    }
    return skymm::run(options);
  });
}
