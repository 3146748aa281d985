// Times generation with a cache of keys and values, one sequence at a time: after a prompt, each token reads every
// weight once, so memory's bandwidth is its bound. Prints one line of JSON.
//
//   OMP_NUM_THREADS=2 bench_decode [--decoder smollm2-135m] [--dtype bf16] [--format dtype|int8|nf4|nf4-double]
//                            [--packing none|forward|both] [--prompt 64] [--tokens 64]
// bound_tokens_per_s is the measured read bandwidth over the bytes of all weights; cpu_ figures count processor time in
// place of the wall clock (with OMP_WAIT_POLICY=passive).
#include <fmt/format.h>
#include <omp.h>

#include <chrono>
#include <cstdio>
#include <ctime>
#include <map>
#include <string>
#include <vector>

#include "bench/peak.hpp"
#include "bench/recipe_step.hpp"
#include "core/error.hpp"
#include "ops/models/multimodal.hpp"

namespace skymm {
namespace {

using Options = std::map<std::string, std::string>;

MultimodalConfig config_of(Options& options) {
  MultimodalConfig config;
  config.decoder = decoder_preset(options["decoder"]);
  config.quantization = bench::parse_format(options["format"]);
  config.packing = bench::parse_packing(options["packing"]);
  return config;
}

// Bytes that a token reads: all weights but an embedding table that is not the head too.
double bytes_of(Multimodal& model, DType dtype) {
  double bytes = 0;
  for (const NamedParameter& entry : all_parameters(model)) {
    const Parameter& p = *entry.parameter;
    if (entry.name == "model.embed_tokens.weight" && !model.config().decoder.tied) continue;
    bytes += static_cast<double>(p.quantized.defined() ? p.quantized.bytes()
                                                       : static_cast<std::size_t>(p.shape.numel()) * size_of(dtype));
  }
  return bytes;
}

// The next token after `tokens`, which follow those in the cache.
std::int32_t read(Multimodal& model, KeyValueCache& cache, const std::vector<std::int32_t>& tokens) {
  const auto n = static_cast<std::int64_t>(tokens.size());
  cache.extend(std::vector{n});
  Batch batch;
  batch.tokens = Tensor::from(tokens, {n});
  batch.positions = cache.positions();
  batch.cache = &cache;
  Graph graph(Graph::Mode::inference);
  const Tensor logits = model.logits(graph, batch, Tensor::from(std::vector{static_cast<std::int32_t>(n - 1)}, {1}));
  const Tensor best = Tensor::empty({1}, DType::i32);
  kernels(logits).argmax(logits, best);
  return static_cast<std::int32_t>(best.item());
}

struct Seconds {
  double wall, cpu;
};

template <class F>
Seconds time_of(const F& f) {
  const auto start = std::chrono::steady_clock::now();
  const std::clock_t cpu = std::clock();
  f();
  return {std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(),
          static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC};
}

int run(Options options) {
  const DType dtype = parse_dtype(options["dtype"]);
  const std::int64_t prompt = std::stoll(options["prompt"]), tokens = std::stoll(options["tokens"]);
  Multimodal model(config_of(options), dtype, cpu());
  initialize(model, 1);
  const double bytes = bytes_of(model, dtype);
  model.freeze();
  const DecoderConfig& d = model.config().decoder;
  KeyValueCache cache(d.layers, {d.heads, d.kv_heads, d.head_width}, {prompt + tokens + 1}, dtype, cpu());
  std::vector<std::int32_t> text;
  for (std::int64_t i = 0; i < prompt; ++i) text.push_back(static_cast<std::int32_t>(i * 7919 % d.vocabulary));
  std::int32_t token = 0;
  const Seconds filled = time_of([&] { token = read(model, cache, text); });
  token = read(model, cache, {token});  // makes the primitives of one row
  const Seconds decoded = time_of([&] {
    for (std::int64_t i = 1; i < tokens; ++i) token = read(model, cache, {token});
  });
  const int threads = omp_get_max_threads();
  const double bandwidth = bench::read_bandwidth(threads), count = static_cast<double>(tokens - 1);
  fmt::print(
      "{{\"decoder\": \"{}\", \"dtype\": \"{}\", \"format\": \"{}\", \"threads\": {}, \"prompt_ms\": {:.1f}, "
      "\"tokens_per_s\": {:.1f}, \"cpu_tokens_per_s\": {:.1f}, \"mb_per_token\": {:.1f}, \"read_gb_per_s\": {:.1f}, "
      "\"bound_tokens_per_s\": {:.1f}, \"share_of_bound\": {:.2f}, \"cpu_share_of_bound\": {:.2f}, \"last\": {}}}\n",
      options["decoder"], options["dtype"], options["format"], threads, 1e3 * filled.wall, count / decoded.wall,
      count * threads / decoded.cpu, bytes / 1e6, bandwidth / 1e9, bandwidth / bytes,
      count / decoded.wall * bytes / bandwidth, count * threads / decoded.cpu * bytes / bandwidth, token);
  return 0;
}

}  // namespace
}  // namespace skymm

int main(int argc, char** argv) {
  skymm::Options options{{"decoder", "smollm2-135m"}, {"dtype", "bf16"}, {"format", "dtype"},
                         {"packing", "forward"},      {"prompt", "64"},  {"tokens", "64"}};
  try {
    for (int i = 1; i < argc; i += 2) {
      const std::string name = std::string(argv[i]).substr(std::min<std::size_t>(2, std::string(argv[i]).size()));
      skymm::check(options.contains(name) && i + 1 < argc, "unknown option or no value: {}", argv[i]);
      options[name] = argv[i + 1];
    }
    return skymm::run(options);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
