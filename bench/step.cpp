// Times the recipe's whole training step: frozen ViT -> Perceiver -> frozen decoder with LoRA on all linear layers ->
// AdamW, the work of bench/peers. Prints one line of JSON.
//
//   OMP_NUM_THREADS=2 bench_step --dtype bf16 [--decoder smollm2-135m] [--vision vit-b16] [--batch 4] [--steps 7]
//                          [--packing none|forward|both] [--format dtype|int8|nf4|nf4-double]
//                          [--recompute none|attention+mlp|full] [--trace FILE]
// activations_mib is the most that activations took at once in forward and backward, predicted_mib what skymm plan
// says.
// --steps 0 times the first step alone. cpu_tokens_per_s and cpu_gflops count the processor time of the threads, not
// the wall clock: on a machine that others use too they say what an idle one would do (with OMP_WAIT_POLICY=passive, so
// that waiting costs nothing).
#include <fmt/format.h>
#include <omp.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "bench/recipe_step.hpp"
#include "core/error.hpp"
#include "core/trace.hpp"

namespace skymm {
namespace {

using Clock = std::chrono::steady_clock;
using Options = std::map<std::string, std::string>;

constexpr double mib = 1024.0 * 1024.0;

// Random codes in place of random weights in few bits: a 13B model has its memory and its speed within seconds. Values
// are of deviation 1 / sqrt(in), as initialize() makes them.
void fill_codes(const QuantizedTensor& w) {
  RandomStream random(1);
  std::vector<std::uint8_t> pattern(8191);
  for (std::uint8_t& byte : pattern) byte = static_cast<std::uint8_t>(random.next());
  auto* codes = static_cast<std::uint8_t*>(w.codes.raw());
  const auto bytes = static_cast<std::int64_t>(w.codes.bytes());
#pragma omp parallel for
  for (std::int64_t i = 0; i < bytes; ++i) codes[i] = pattern[static_cast<std::size_t>(i) % pattern.size()];
  const double deviation = w.format == QuantizedFormat::nf4 ? 0.55 : 73.6;  // of evenly drawn codes' values
  const double scale = 1 / (deviation * std::sqrt(static_cast<double>(w.columns())));
  w.scales.fill(w.is_double() ? 0 : scale);
  if (!w.is_double()) return;
  w.scale_steps.fill(0);
  w.scale_offset.fill(scale);
}

void fill_weights(Module& model) {
  for (const NamedParameter& entry : all_parameters(model)) {
    const QuantizedTensor& codes = entry.parameter->quantized;
    codes.defined() ? fill_codes(codes) : initialize(entry.name, *entry.parameter, 1);
  }
}

// One flat gradient buffer and f32 masters, as parallel/optimizer has them.
class Optimizer {
 public:
  explicit Optimizer(Module& module) : parameters_(trainable_parameters(module)) {
    std::int64_t total = 0;
    for (const NamedParameter& entry : parameters_) total += entry.parameter->shape.numel();
    {
      const PurposeScope purpose(Purpose::gradients);
      gradients_ = Tensor::zeros({total}, DType::f32);
    }
    const PurposeScope purpose(Purpose::optimizer);
    std::int64_t begin = 0;
    for (const NamedParameter& entry : parameters_) {
      const std::int64_t n = entry.parameter->shape.numel();
      entry.parameter->gradient = gradients_.slice(0, begin, begin + n).view(entry.parameter->shape);
      begin += n;
      master_.push_back(entry.parameter->value.view({n}).to(DType::f32).clone());
      m_.push_back(Tensor::zeros({n}, DType::f32));
      v_.push_back(Tensor::zeros({n}, DType::f32));
    }
  }

  void step(std::int64_t number, std::int64_t tokens) {
    const AdamW options{.learning_rate = 1e-4F, .step = number, .gradient_scale = 1.0F / static_cast<float>(tokens)};
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      const Parameter& p = *parameters_[i].parameter;
      const std::int64_t n = p.shape.numel();
      kernels(p.value).adamw(master_[i], m_[i], v_[i], p.gradient.view({n}), p.value.view({n}), options);
    }
    gradients_.fill(0);
  }

 private:
  std::vector<NamedParameter> parameters_;
  Tensor gradients_;
  std::vector<Tensor> master_, m_, v_;
};

struct Times {
  double vision, forward, backward, optimizer;
  double cpu;  // seconds of all threads
  double total() const { return vision + forward + backward + optimizer; }
};

double seconds_since(Clock::time_point& start) {
  const Clock::time_point now = Clock::now();
  const double seconds = std::chrono::duration<double>(now - start).count();
  start = now;
  return seconds;
}

// Forgets the activations' peak once the ViT has run: it needs none of what training keeps.
Times run_step(Multimodal& model, Optimizer& optimizer, Batch batch, std::int64_t number, double& loss_value) {
  Times times{};
  const std::clock_t cpu_start = std::clock();
  Clock::time_point start = Clock::now();
  batch.features = model.features(batch.pixels);
  cpu().allocator().reset_peak();
  times.vision = seconds_since(start);
  Graph graph;
  const Variable loss = model.loss(graph, batch);
  loss_value = loss.value().item() / static_cast<double>(batch.label_ids.dim(0));
  times.forward = seconds_since(start);
  graph.backward(loss, Tensor::full({1}, DType::f32, 1));
  times.backward = seconds_since(start);
  optimizer.step(number, batch.label_ids.dim(0));
  times.optimizer = seconds_since(start);
  times.cpu = static_cast<double>(std::clock() - cpu_start) / CLOCKS_PER_SEC;
  return times;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

int run(Options options) {
  const DType dtype = parse_dtype(options["dtype"]);
  const bench::StepSamples samples{.count = std::stoll(options["batch"])};
  const MultimodalConfig config = bench::step_config(
      {options["decoder"], options["vision"], options["format"], options["packing"], options["recompute"]},
      samples.visual_tokens);
  const std::int64_t steps = std::stoll(options["steps"]);
  Multimodal model(config, dtype, cpu());
  fill_weights(model);
  model.freeze();
  cpu().allocator().trim();
  Optimizer optimizer(model);
  const Batch batch = bench::synthetic_batch(config, samples.shape(), dtype, 1);
  if (!options["trace"].empty()) enable_trace();

  double loss = 0;
  std::vector<Times> times;
  const Times first = run_step(model, optimizer, batch, 1, loss);  // warm-up, unless it is the only one
  if (steps == 0) times.push_back(first);
  for (std::int64_t i = 0; i < steps; ++i) times.push_back(run_step(model, optimizer, batch, i + 2, loss));
  const auto middle = [&](auto member) {
    std::vector<double> values;
    for (const Times& t : times) values.push_back(member(t));
    return median(values);
  };
  const double step = middle([](const Times& t) { return t.total(); });
  const double best = std::ranges::min_element(times, {}, [](const Times& t) { return t.total(); })->total();
  const auto tokens = static_cast<double>(samples.tokens());
  const double gflop = bench::step_flops(config, samples) / 1e9;
  const double rate = omp_get_max_threads() / middle([](const Times& t) { return t.cpu; });  // by processor time
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  fmt::print(
      "{{\"decoder\": \"{}\", \"vision\": \"{}\", \"dtype\": \"{}\", \"format\": \"{}\", \"threads\": {}, \"batch\": "
      "{}, "
      "\"step_ms\": {:.0f}, \"best_ms\": {:.0f}, \"vision_ms\": {:.0f}, \"forward_ms\": {:.0f}, "
      "\"backward_ms\": {:.0f}, \"optimizer_ms\": {:.0f}, \"tokens_per_s\": {:.1f}, \"best_tokens_per_s\": {:.1f}, "
      "\"cpu_tokens_per_s\": {:.1f}, \"gflops\": {:.1f}, \"cpu_gflops\": {:.1f}, \"gflop\": {:.0f}, \"peak_rss_gb\": "
      "{:.2f}, \"recompute\": \"{}\", \"activations_mib\": {:.1f}, \"predicted_mib\": {:.1f}, \"loss\": "
      "{:.3f}}}\n",
      options["decoder"], options["vision"], options["dtype"], options["format"], omp_get_max_threads(), samples.count,
      1e3 * step, 1e3 * best, 1e3 * middle([](const Times& t) { return t.vision; }),
      1e3 * middle([](const Times& t) { return t.forward; }), 1e3 * middle([](const Times& t) { return t.backward; }),
      1e3 * middle([](const Times& t) { return t.optimizer; }), tokens / step, tokens / best, tokens * rate,
      gflop / step, gflop * rate, gflop, static_cast<double>(usage.ru_maxrss) * 1024 / 1e9, options["recompute"],
      static_cast<double>(cpu().allocator().use(Purpose::activations).peak) / mib,
      bench::step_activations(config, samples, compute_form(dtype, cpu())) / mib, loss);
  fmt::print(stderr, "{}", cpu().allocator().report());
  if (!options["trace"].empty()) std::ofstream(options["trace"]) << "[" << trace_events() << "]\n";
  return 0;
}

}  // namespace
}  // namespace skymm

int main(int argc, char** argv) {
  skymm::Options options{{"dtype", "bf16"}, {"decoder", "smollm2-135m"}, {"vision", "vit-b16"}, {"batch", "4"},
                         {"steps", "7"},    {"packing", "both"},         {"format", "dtype"},   {"recompute", "none"},
                         {"trace", ""}};
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
