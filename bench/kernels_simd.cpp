// The memory-bound primitives: bytes that must be read and written a second, beside what plain copying reaches.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <functional>
#include <string>
#include <vector>

#include "core/random.hpp"
#include "ops/kernels/kernels.hpp"

namespace skymm {
namespace {

Tensor normal(const Shape& shape, DType dtype) {
  RandomStream random(1);
  std::vector<float> values(static_cast<std::size_t>(shape.numel()));
  for (float& value : values) value = random.normal();
  return Tensor::from(values, shape).to(dtype);
}

Tensor ascending(std::int64_t n, std::int64_t modulo) {
  std::vector<std::int32_t> values;
  for (std::int64_t i = 0; i < n; ++i) values.push_back(static_cast<std::int32_t>(i * 7 % modulo));
  return Tensor::from(values, {n});
}

std::size_t bytes_of(const std::vector<Tensor>& tensors) {
  std::size_t sum = 0;
  for (const Tensor& x : tensors) sum += x.bytes();
  return sum;
}

// touched: each tensor as often as it must be read or written.
void add_bench(const std::string& name, const std::vector<Tensor>& touched, std::function<void()> call) {
  benchmark::RegisterBenchmark(name.c_str(), [touched, call](benchmark::State& state) {
    call();  // touches fresh pages
    for (auto _ : state) {
      call();
      benchmark::ClobberMemory();
    }
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(bytes_of(touched)));
  })->UseRealTime();
}

void add_copies() {
  for (const std::int64_t n : {512 * 576, 512 * 5120, 64 << 20}) {  // floats: cache, cache's edge, memory
    const Tensor x = normal({n}, DType::f32), y = x.empty_like();
    add_bench(fmt::format("copy/f32/{}", x.shape().str()), {x, y}, [=] { y.copy_from(x); });
  }
}

void add_row_benches(DType dtype, std::int64_t rows, std::int64_t width) {
  Kernels& k = kernels(cpu());
  const Tensor x = normal({rows, width}, dtype), dy = normal({rows, width}, dtype), y = x.empty_like();
  const Tensor weight = normal({width}, dtype), column = normal({rows}, DType::f32), other = column.clone();
  const Tensor dweight = Tensor::zeros({width}, DType::f32), dbias = dweight.clone(),
               table = Tensor::zeros({1, width}, DType::f32);
  const Tensor wide = normal({rows, 2 * width}, dtype), dwide = wide.empty_like();
  const Tensor positions = ascending(rows, 4096), ids = ascending(2 * rows, 1000).view({rows, 2});
  const Tensor heads = x.split_last(width / 64, 64), turned = y.split_last(width / 64, 64);
  const Tensor index = ascending(rows, rows), sums = Tensor::zeros({rows, width}, DType::f32);
  const Tensor one = Tensor::zeros({1}, DType::f64), count = Tensor::zeros({1}, DType::i32);
  const RandomKey key{.seed = 1};
  const auto add = [&](const char* name, const std::vector<Tensor>& touched, std::function<void()> call) {
    add_bench(fmt::format("{}/{}/{}", name, name_of(dtype), x.shape().str()), touched, std::move(call));
  };
  const auto activations = {
      std::pair{Activation::silu, "silu"}, {Activation::gelu, "gelu"}, {Activation::quick_gelu, "quick_gelu"}};
  for (const auto& [kind, name] : activations) {
    add(name, {x, y}, [=, &k, kind = kind] { k.activation(kind, x, y); });
    add(fmt::format("{}_gradient", name).c_str(), {x, x, y},
        [=, &k, kind = kind] { k.activation_gradient(kind, x, dy, y); });
  }
  add("layer_norm", {x, y}, [=, &k] { k.layer_norm(x, weight, weight, 1e-5F, y, column, other); });
  add("layer_norm_input_gradient", {x, dy, y},
      [=, &k] { k.layer_norm_input_gradient(dy, x, weight, column, other, y); });
  add("layer_norm_weight_gradient", {x, dy},
      [=, &k] { k.layer_norm_weight_gradient(dy, x, column, other, dweight, dbias); });
  add("rms_norm", {x, y}, [=, &k] { k.rms_norm(x, Tensor(), weight, 1e-5F, y, column); });
  add("rms_norm_residual", {x, x, dy, y}, [=, &k] { k.rms_norm(x, dy, weight, 1e-5F, y, column); });
  add("rms_norm_input_gradient", {x, dy, y}, [=, &k] { k.rms_norm_input_gradient(dy, x, weight, column, y); });
  add("rms_norm_weight_gradient", {x, dy}, [=, &k] { k.rms_norm_weight_gradient(dy, x, column, dweight); });
  add("l2_normalize", {x, y}, [=, &k] { k.l2_normalize(x, 1e-6F, y, column); });
  add("swiglu", {wide, y}, [=, &k] { k.swiglu(wide, y); });
  add("swiglu_gradient", {wide, dy, dwide}, [=, &k] { k.swiglu_gradient(wide, dy, dwide); });
  add("add", {x, dy, y}, [=, &k] { k.add(x, dy, y); });
  add("add_rows", {x, y}, [=, &k] { k.add_rows(x, weight.view({1, width}), y); });
  add("sum_rows", {x}, [=, &k] { k.sum_rows(x, table); });
  add("dropout", {x, y}, [=, &k] { k.dropout(x, 0.1F, key, ids, y); });
  add("rotary_embedding", {x, y}, [=, &k] { k.rotary_embedding(heads, positions, 1e4F, false, turned); });
  add("softmax", {x, y}, [=, &k] { k.softmax(x, y); });
  add("softmax_gradient", {x, dy, y}, [=, &k] { k.softmax_gradient(x, dy, y); });
  add("gather_rows", {x, y}, [=, &k] { k.gather_rows(x, index, y); });
  add("scatter_add_rows", {x, sums, sums}, [=, &k] { k.scatter_add_rows(x, index, sums); });
  add("sum", {x}, [=, &k] { k.sum(x, one); });
  add("sum_of_squares", {x}, [=, &k] { k.sum_of_squares(x, one); });
  add("count_non_finite", {x}, [=, &k] { k.count_non_finite(x, count); });
}

void add_vocabulary_benches(DType dtype) {
  constexpr std::int64_t rows = 256, classes = 49152;
  Kernels& k = kernels(cpu());
  const Tensor x = normal({rows, classes}, dtype), labels = ascending(rows, classes), y = x.empty_like();
  const Tensor losses = Tensor::zeros({rows}, DType::f32), total = Tensor::full({rows}, DType::f32, 11.0),
               best = labels.clone();
  const std::string suffix = fmt::format("/{}/{}", name_of(dtype), x.shape().str());
  add_bench("cross_entropy" + suffix, {x}, [=, &k] { k.cross_entropy(x, labels, losses, total); });
  add_bench("cross_entropy_gradient" + suffix, {x, y},
            [=, &k] { k.cross_entropy_gradient(x, labels, total, 1.0F, y); });
  add_bench("argmax" + suffix, {x}, [=, &k] { k.argmax(x, best); });
}

void add_optimizer_benches() {
  constexpr std::int64_t n = 10'000'000;
  const Tensor master = normal({n}, DType::f32), gradient = normal({n}, DType::f32);
  const Tensor m = Tensor::zeros({n}, DType::f32), v = m.clone();
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Tensor value = Tensor::empty({n}, dtype);
    add_bench(fmt::format("adamw/{}/{}", name_of(dtype), value.shape().str()),
              {master, master, m, m, v, v, gradient, value},
              [=] { kernels(master).adamw(master, m, v, gradient, value, {.learning_rate = 1e-6F}); });
  }
}

}  // namespace
}  // namespace skymm

int main(int argc, char** argv) {
  using namespace skymm;
  add_copies();
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const std::int64_t width : {576, 5120}) add_row_benches(dtype, 512, width);
    add_vocabulary_benches(dtype);
  }
  add_optimizer_benches();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
