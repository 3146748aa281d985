// Matrix products and attention beside the machine's peak, on as many threads as OMP_NUM_THREADS says.
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <omp.h>

#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "bench/peak.hpp"
#include "core/random.hpp"
#include "ops/kernels/kernels.hpp"

namespace skymm::bench {
namespace {

Tensor normal(const Shape& shape, DType dtype) {
  RandomStream random(1);
  std::vector<float> values(static_cast<std::size_t>(shape.numel()));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = i < 4099 ? random.normal() : values[i - 4099];
  return Tensor::from(values, shape).to(dtype);
}

double peak(DType dtype) {
  static const double f32 = peak_flops_f32(omp_get_max_threads()), bf16 = peak_flops_bf16(omp_get_max_threads());
  return dtype == DType::bf16 && bf16 > 0 ? bf16 : f32;
}

// GFLOP/s, and the share of what `dtype` could do from registers.
void report(benchmark::State& state, double flops, DType dtype) {
  state.counters["GFLOP/s"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["share_of_peak"] =
      benchmark::Counter(flops / peak(dtype), benchmark::Counter::kIsIterationInvariantRate);
}

enum class Pass { forward, input_gradient, weight_gradient };

void linear(benchmark::State& state, Pass pass, DType dtype, Packing packing) {
  const std::int64_t tokens = state.range(0), in = state.range(1), out = state.range(2);
  Kernels& k = kernels(cpu());
  const Tensor x = normal({tokens, in}, dtype), dy = normal({tokens, out}, dtype);
  const LinearWeightPtr w = k.make_linear_weight(normal({out, in}, dtype), packing);
  const Tensor dw = Tensor::zeros({out, in}, DType::f32);
  for (auto _ : state) {
    if (pass == Pass::forward) k.linear(x, *w, Tensor(), Activation::none, dy);
    if (pass == Pass::input_gradient) k.linear_input_gradient(dy, *w, x);
    if (pass == Pass::weight_gradient) k.linear_weight_gradient(dy, x, dw, 1e-6F);
  }
  report(state, 2.0 * static_cast<double>(tokens * in * out), dtype);
}

// Frozen weights of a 13B decoder, in bf16 as they compute and in few bits. Compare rows of one run.
void frozen(benchmark::State& state, Pass pass, const std::optional<Quantization>& how) {
  const std::int64_t tokens = state.range(0), in = state.range(1), out = state.range(2);
  Kernels& k = kernels(cpu());
  const Tensor x = normal({tokens, in}, DType::bf16), dy = normal({tokens, out}, DType::bf16);
  LinearWeightPtr w;
  {
    const Tensor plain = normal({out, in}, DType::bf16);
    if (how) {
      const std::vector<QuantizedTensor> parts{QuantizedTensor::empty(plain.shape(), *how)};
      k.quantize(plain, parts[0]);
      w = k.make_linear_weight(parts, DType::bf16);
    } else {
      w = k.make_linear_weight(plain, Packing::both);
    }
  }
  for (auto _ : state) {
    pass == Pass::forward ? k.linear(x, *w, Tensor(), Activation::none, dy) : k.linear_input_gradient(dy, *w, x);
  }
  report(state, 2.0 * static_cast<double>(tokens * in * out), DType::bf16);
  const double passes = pass == Pass::forward && !how ? 0.5 : 1.0;  // the second packed copy is not read
  state.counters["GB/s"] = benchmark::Counter(static_cast<double>(w->bytes()) * passes * 1e-9,
                                              benchmark::Counter::kIsIterationInvariantRate);
}

void attention(benchmark::State& state, bool backward, DType dtype, bool causal) {
  const std::int64_t sequences = state.range(0), n = state.range(1), heads = state.range(2), kv_heads = state.range(3);
  const std::int64_t width = state.range(4), tokens = sequences * n, wide = heads + 2 * kv_heads;
  std::vector<std::int32_t> at;
  for (std::int64_t s = 0; s <= sequences; ++s) at.push_back(static_cast<std::int32_t>(s * n));
  const Tensor offsets = Tensor::from(at, {sequences + 1});
  const AttentionShape shape{offsets, offsets, n, n, causal, 1 / std::sqrt(static_cast<float>(width))};
  const auto part = [&](const Tensor& x, std::int64_t begin, std::int64_t end) {
    return x.split_last(wide, width).slice(1, begin, end);
  };
  const Tensor qkv = normal({tokens, wide * width}, dtype), dqkv = qkv.empty_like();
  const Tensor q = part(qkv, 0, heads), key = part(qkv, heads, heads + kv_heads), v = part(qkv, heads + kv_heads, wide);
  const Tensor out = Tensor::empty({tokens, heads, width}, dtype), dout = normal({tokens, heads, width}, dtype);
  const Tensor logsumexp = Tensor::empty({tokens, heads}, DType::f32);
  Kernels& k = kernels(cpu());
  k.attention(q, key, v, shape, out, logsumexp);
  for (auto _ : state) {
    if (backward) {
      k.attention_gradient(dout, q, key, v, out, logsumexp, shape, part(dqkv, 0, heads),
                           part(dqkv, heads, heads + kv_heads), part(dqkv, heads + kv_heads, wide));
    } else {
      k.attention(q, key, v, shape, out, logsumexp);
    }
  }
  const double seen = causal ? static_cast<double>(n * (n + 1)) / 2 : static_cast<double>(n * n);
  // two products forward, five backward; sums are in f32
  report(state, (backward ? 10.0 : 4.0) * seen * static_cast<double>(sequences * heads * width), DType::f32);
}

void register_linear() {
  const std::vector<std::vector<std::int64_t>> shapes = {
      {64, 2048, 2048},  {256, 2048, 2048},  {512, 2048, 2048}, {64, 5120, 5120}, {256, 5120, 5120},
      {512, 5120, 5120}, {128, 5120, 13824}, {512, 576, 1536},  {512, 1536, 576}, {788, 768, 3072},
      {64, 128, 128},    {64, 256, 256},     {512, 256, 1024},  {512, 64, 64},    {512, 576, 16},
      {512, 16, 576},    {64, 5120, 16},     {64, 16, 5120},    {512, 128, 4},    {512, 4, 128}};
  constexpr const char* passes[] = {"forward", "input_gradient", "weight_gradient"};
  for (const DType dtype : {DType::bf16, DType::f32}) {
    for (const Packing packing : {Packing::none, Packing::both}) {
      for (const Pass pass : {Pass::forward, Pass::input_gradient, Pass::weight_gradient}) {
        if (packing == Packing::both && pass == Pass::weight_gradient) continue;
        const std::string name = fmt::format("linear/{}/{}/{}", passes[static_cast<int>(pass)], name_of(dtype),
                                             packing == Packing::none ? "plain" : "packed");
        auto* entry = benchmark::RegisterBenchmark(name.c_str(), linear, pass, dtype, packing);
        for (const auto& shape : shapes) entry->Args(shape);
        entry->ArgNames({"tokens", "in", "out"})->UseRealTime();
      }
    }
  }
}

void register_frozen() {
  const std::vector<std::pair<const char*, std::optional<Quantization>>> formats = {
      {"bf16", std::nullopt},
      {"int8", Quantization{QuantizedFormat::int8, false}},
      {"nf4", Quantization{QuantizedFormat::nf4, false}},
      {"nf4-double", Quantization{QuantizedFormat::nf4, true}}};
  for (const Pass pass : {Pass::forward, Pass::input_gradient}) {
    for (const auto& [format, how] : formats) {
      const std::string name =
          fmt::format("frozen/{}/{}", pass == Pass::forward ? "forward" : "input_gradient", format);
      auto* entry = benchmark::RegisterBenchmark(name.c_str(), frozen, pass, how);
      for (const std::int64_t tokens : {1, 8, 128, 512}) {
        if (pass == Pass::input_gradient && tokens < 128) continue;
        for (const std::int64_t out : {5120, 13824}) entry->Args({tokens, 5120, out});
      }
      entry->ArgNames({"tokens", "in", "out"})->UseRealTime();
    }
  }
}

void register_attention() {
  for (const DType dtype : {DType::bf16, DType::f32}) {
    for (const bool backward : {false, true}) {
      const auto add = [&](bool causal, const std::vector<std::int64_t>& args) {
        const std::string name = fmt::format("attention/{}/{}/{}", backward ? "backward" : "forward", name_of(dtype),
                                             causal ? "causal" : "full");
        benchmark::RegisterBenchmark(name.c_str(), attention, backward, dtype, causal)
            ->Args(args)
            ->ArgNames({"sequences", "tokens", "heads", "kv_heads", "width"})
            ->UseRealTime();
      };
      add(true, {4, 128, 9, 3, 64});
      add(false, {4, 128, 9, 9, 64});
      add(false, {4, 197, 12, 12, 64});
      add(true, {1, 2048, 8, 8, 128});
      add(true, {8, 128, 4, 4, 32});
      add(false, {16, 49, 3, 3, 64});
    }
  }
}

}  // namespace
}  // namespace skymm::bench

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  const int threads = omp_get_max_threads();
  fmt::print("peak of {} threads: f32 {:.0f} GFLOP/s, bf16 {:.0f}; memory: read {:.1f} GB/s, copy {:.1f}\n", threads,
             skymm::bench::peak(skymm::DType::f32) * 1e-9, skymm::bench::peak_flops_bf16(threads) * 1e-9,
             skymm::bench::read_bandwidth(threads) * 1e-9, skymm::bench::copy_bandwidth(threads) * 1e-9);
  skymm::bench::register_linear();
  skymm::bench::register_frozen();
  skymm::bench::register_attention();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
