// Times generation with a cache of keys and values, one sequence at a time: after a prompt, each token reads every
// weight once, so memory's bandwidth is its bound. Prints one line of JSON.
//
//   OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive GOMP_SPINCOUNT=5000
//     bench_decode [--decoder smollm2-135m] [--dtype bf16] [--format dtype|int8|nf4|nf4-double]
//                            [--packing none|forward|both] [--prompt 64] [--tokens 64]
// Threads wait so in `skymm chat` and `skymm eval`. After each token as many bytes as it read are read once more, and
// nothing else: share_of_bound is the median time of that over the median token's, so that what else the machine does
// meets both. simple_share_of_bound has read_bandwidth(), the best of a plain loop over memory that malloc gave, as its
// bound.
#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
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

template <class F>
double seconds_of(const F& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::ranges::nth_element(values, values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2));
  return values[values.size() / 2];
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
  const double filled = seconds_of([&] { token = read(model, cache, text); });
  token = read(model, cache, {token});  // makes the primitives of one row
  const bench::ReadPass pass(static_cast<std::size_t>(bytes));
  std::vector<double> of_token, of_pass;
  for (std::int64_t i = 1; i < tokens; ++i) {
    of_token.push_back(seconds_of([&] { token = read(model, cache, {token}); }));
    of_pass.push_back(pass.seconds());
  }
  const int threads = omp_get_max_threads();
  const double seconds = median(of_token), bound = median(of_pass), simple = bench::read_bandwidth(threads);
  fmt::print(
      "{{\"decoder\": \"{}\", \"dtype\": \"{}\", \"format\": \"{}\", \"threads\": {}, \"prompt_ms\": {:.1f}, "
      "\"tokens_per_s\": {:.1f}, \"mb_per_token\": {:.1f}, \"read_gb_per_s\": {:.1f}, \"bound_tokens_per_s\": {:.1f}, "
      "\"share_of_bound\": {:.2f}, \"simple_gb_per_s\": {:.1f}, \"simple_share_of_bound\": {:.2f}, \"last\": {}}}\n",
      options["decoder"], options["dtype"], options["format"], threads, 1e3 * filled, 1 / seconds, bytes / 1e6,
      bytes / bound / 1e9, 1 / bound, bound / seconds, simple / 1e9, bytes / simple / seconds, token);
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
