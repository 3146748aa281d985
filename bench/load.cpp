// Times the loading of a decoder's weights from one file by a pipeline of as many ranks as mpirun starts. Rank 0 prints
// one line of JSON.
//
//   skymm weights synthesize --preset tinyllama-1.1b --out llm.safetensors
//   mpirun -np 2 bench_load --weights llm.safetensors [--decoder tinyllama-1.1b] [--packing none|forward|both]
//
// Once before, so that the file is in the page cache, and once timed. read_share is the bytes that all ranks read over
// those of the file; resident_share, of the rank where it is largest, the most memory that it had over what its weights
// take; page_cache_gb_per_s what a plain copy out of the mapped file reaches, by all ranks at once.
#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "bench/recipe_step.hpp"
#include "core/error.hpp"
#include "io/mapped_file.hpp"
#include "launch/pretrained.hpp"
#include "parallel/communicator.hpp"
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

double resident_bytes(const std::string& key) {  // of /proc/self/status
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key + ":")) return 1024 * std::stod(line.substr(key.size() + 1));
  }
  return 0;
}

struct Loaded {
  double seconds = 0, read = 0, file = 0, resident_share = 0;
};

Loaded load(const MultimodalConfig& config, const BlockRange& piece, const Options& options, Communicator& world) {
  Loaded loaded;
  const std::shared_ptr<const WeightSource> file = open_weights(options.at("weights"));
  const PretrainedPart part = bind_decoder(config.decoder, file);
  Multimodal model(config, DType::bf16, cpu(), {piece});
  double share = 0;
  for (const NamedParameter& entry : all_parameters(model)) {
    share += static_cast<double>(entry.parameter->shape.numel()) * 2;
  }
  cpu().allocator().trim();
  std::ofstream("/proc/self/clear_refs") << "5";  // the largest size is counted anew
  const double before = resident_bytes("VmRSS");
  world.barrier();
  const auto start = Clock::now();
  load_weights(model, {part}, {}, 1);
  model.freeze();
  world.barrier();
  loaded.seconds = since(start);
  loaded.read = static_cast<double>(file->bytes_read());
  for (const WeightEntry& entry : file->entries()) loaded.file += static_cast<double>(entry.end - entry.begin);
  loaded.resident_share = (resident_bytes("VmHWM") - before) / share;
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
  const std::unique_ptr<Communicator> ranks = world();
  MultimodalConfig config;
  config.decoder = decoder_preset(options.at("decoder"));
  config.packing = bench::parse_packing(options.at("packing"));
  const std::int64_t blocks = all_blocks(config).size();
  const BlockRange piece{blocks * ranks->rank() / ranks->size(), blocks * (ranks->rank() + 1) / ranks->size()};
  load(config, piece, options, *ranks);
  const double rate = page_cache_rate(options.at("weights"), *ranks);
  cpu().allocator().trim();
  const Loaded loaded = load(config, piece, options, *ranks);
  const double read = sum_over(*ranks, loaded.read), resident = largest_over(*ranks, loaded.resident_share);
  if (ranks->rank() != 0) return 0;
  fmt::print(
      "{{\"file_gb\": {:.2f}, \"ranks\": {}, \"threads\": {}, \"packing\": \"{}\", \"seconds\": {:.2f}, "
      "\"gb_per_s\": {:.1f}, \"page_cache_gb_per_s\": {:.1f}, \"read_share\": {:.4f}, \"resident_share\": {:.3f}}}\n",
      loaded.file / 1e9, ranks->size(), omp_get_max_threads(), options.at("packing"), loaded.seconds,
      loaded.file / loaded.seconds / 1e9, rate / 1e9, read / loaded.file, resident);
  return 0;
}

}  // namespace
}  // namespace skymm

int main(int argc, char** argv) {
  skymm::Options options{{"weights", ""}, {"decoder", "tinyllama-1.1b"}, {"packing", "none"}};
  return skymm::run_ranks([&] {
    for (int i = 1; i < argc; i += 2) {
      const std::string name = std::string(argv[i]).substr(std::min<std::size_t>(2, std::string(argv[i]).size()));
      skymm::check(options.contains(name) && i + 1 < argc, "unknown option or no value: {}", argv[i]);
      options[name] = argv[i + 1];
    }
    return skymm::run(options);
  });
}
