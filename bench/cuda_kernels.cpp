// CUDA's kernels on a GPU: products by hand and by cuBLASLt, products with weights in few bits, attention, where the
// build has cuDNN attention over pictures and patch embedding by that too; and what bandwidth bounds: norms,
// activations, dropout, losses, rows by index, AdamW. Prints a line of JSON a case: milliseconds, TFLOP/s, and GB/s of
// what must be moved at least. Code 77: no such device.
//
//   bench_cuda_kernels [--device cuda] [--tokens 4096] [--width 4096] [--seconds 0.3]
// The emulated device (emulated-cuda) shows that it runs; its times mean nothing.
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "core/random.hpp"
#include "ops/kernels/cuda/cudnn.hpp"
#include "ops/kernels/cuda/multiply.hpp"
#include "ops/kernels/cuda/quantized.hpp"

namespace skymm {
namespace {

Tensor normal(const Shape& shape, DType dtype, Device& device) {
  RandomStream random(1);
  std::vector<float> values(static_cast<std::size_t>(shape.numel()));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = i < 4099 ? random.normal() : values[i - 4099];
  return Tensor::from(values, shape, device).to(dtype);
}

// Where the build has cuDNN, it computes what it can.
class CudnnScope {
 public:
  explicit CudnnScope(const Device& device) : device_(device) {
    try {
      use_cudnn({"attention", "patch_embedding"}, device);
    } catch (const Error&) {  // there is none: what is asked of it below answers false
    }
  }
  ~CudnnScope() { use_cudnn({}, device_); }
  CudnnScope(const CudnnScope&) = delete;
  CudnnScope& operator=(const CudnnScope&) = delete;

 private:
  const Device& device_;
};

class Bench {
 public:
  Bench(Device& device, std::int64_t tokens, std::int64_t width, double seconds)
      : device_(device), tokens_(tokens), width_(width), seconds_(seconds) {}

  void run() const {
    copy();
    for (const DType dtype : {DType::bf16, DType::f32}) products(dtype);
    for (const auto& [name, how] : std::map<std::string, Quantization>{{"int8", {QuantizedFormat::int8}},
                                                                       {"nf4", {QuantizedFormat::nf4}},
                                                                       {"nf4-double", {QuantizedFormat::nf4, true}}}) {
      quantized(name, how);
    }
    for (const std::int64_t head : {64, 128}) attention(head, tokens_, true);
    attention(64, std::min<std::int64_t>(tokens_, 256), false);
    patch_embedding();
    norms();
    elementwise();
    losses();
    rows();
    optimizer();
  }

 private:
  // Seconds of one call, of as many as fill the time asked for; the first ones choose algorithms and do not count.
  double time_of(const std::function<void()>& call) const {
    Stream& stream = current_stream(device_);
    for (int i = 0; i < 2; ++i) call();
    for (int calls = 1;; calls *= 2) {
      stream.synchronize();
      const auto start = std::chrono::steady_clock::now();
      for (int i = 0; i < calls; ++i) call();
      stream.synchronize();
      const double taken = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      if (taken >= seconds_) return taken / calls;
    }
  }

  void report(const std::string& name, double flops, double bytes, const std::function<void()>& call) const {
    const double seconds = time_of(call);
    fmt::print(R"({{"case": "{}", "ms": {:.4f}, "tflops": {:.2f}, "gb_per_s": {:.1f}}})"
               "\n",
               name, seconds * 1e3, flops / seconds * 1e-12, bytes / seconds * 1e-9);
    std::fflush(stdout);
  }

  void copy() const {
    const Tensor x = normal({tokens_, 4 * width_}, DType::bf16, device_), y = x.empty_like();
    report("copy", 0, 2.0 * static_cast<double>(x.bytes()), [&] { y.copy_from(x); });
  }

  // The three products of a linear layer.
  void products(DType dtype) const {
    const Tensor x = normal({tokens_, width_}, dtype, device_), dy = normal({tokens_, width_}, dtype, device_);
    const Tensor w = normal({width_, width_}, dtype, device_), dx = x.empty_like();
    const Tensor dw = Tensor::zeros({width_, width_}, DType::f32, device_);
    const auto matrix = [](const Tensor& t) { return matrix_of(t, "bench", "operand"); };
    product("forward", dtype, matrix(x), matrix(w).transposed(), matrix(dx));
    product("input_gradient", dtype, matrix(dy), matrix(w), matrix(dx));
    product("weight_gradient", dtype, matrix(dy).transposed(), matrix(x), matrix(dw));
  }

  void product(const std::string& pass, DType dtype, const Matrix& a, const Matrix& b, const Matrix& c) const {
    Stream& stream = current_stream(device_);
    const double flops = 2.0 * static_cast<double>(a.rows) * static_cast<double>(a.cols * b.cols);
    const double bytes =
        static_cast<double>((a.rows * a.cols + b.rows * b.cols) * static_cast<std::int64_t>(size_of(dtype)) +
                            c.rows * c.cols * static_cast<std::int64_t>(size_of(c.dtype)));
    const std::string name = fmt::format("product/{}/{}", pass, name_of(dtype));
    for (const auto& [size, tiles] : {std::pair{"small", cuda::TileSize::small}, {"large", cuda::TileSize::large}}) {
      report(fmt::format("{}/{}", name, size), flops, bytes, [&] { cuda::multiply(a, b, c, {}, stream, tiles); });
    }
    if (!cuda::multiply_by_library(a, b, c, {}, stream)) return;
    report(name + "/cublaslt", flops, bytes, [&] { cuda::multiply_by_library(a, b, c, {}, stream); });
  }

  void quantized(const std::string& format, const Quantization& how) const {
    const Tensor plain = normal({width_, width_}, DType::f32, cpu());
    const QuantizedTensor on_cpu = QuantizedTensor::empty(plain.shape(), how);
    kernels(cpu()).quantize(plain, on_cpu);
    const auto move = [&](const Tensor& x) { return x.defined() ? x.to(device_) : Tensor(); };
    const std::vector<QuantizedTensor> parts{{on_cpu.format, on_cpu.shape, move(on_cpu.codes), move(on_cpu.scales),
                                              move(on_cpu.scale_steps), move(on_cpu.scale_offset)}};
    Stream& stream = current_stream(device_);
    for (const std::int64_t tokens : {std::int64_t{1}, std::int64_t{16}, tokens_}) {
      const Tensor x = normal({tokens, width_}, DType::bf16, device_), y = x.empty_like();
      const Matrix a = matrix_of(x, "bench", "x"), c = matrix_of(y, "bench", "y");
      const double flops = 2.0 * static_cast<double>(tokens * width_) * static_cast<double>(width_);
      report(fmt::format("quantized/{}/{} tokens", format, tokens), flops,
             static_cast<double>(parts[0].bytes() + 2 * x.bytes()),
             [&] { cuda::multiply_quantized(a, parts, c, {}, stream); });
    }
  }

  // Of all tokens, in sequences of `length`.
  void attention(std::int64_t head, std::int64_t length, bool causal) const {
    const std::int64_t heads = std::max<std::int64_t>(1, width_ / head), sequences = tokens_ / length;
    const std::int64_t tokens = sequences * length;
    const auto make = [&] { return normal({tokens, heads, head}, DType::bf16, device_); };
    const Tensor q = make(), k = make(), v = make(), dout = make(), out = q.empty_like(), dq = q.empty_like(),
                 dk = q.empty_like(), dv = q.empty_like();
    const Tensor logsumexp = Tensor::empty({tokens, heads}, DType::f32, device_);
    std::vector<std::int32_t> ends;
    for (std::int64_t i = 0; i <= sequences; ++i) ends.push_back(static_cast<std::int32_t>(i * length));
    const Tensor offsets = Tensor::from(ends, {sequences + 1}, device_);
    const AttentionShape shape{offsets, offsets, length, length, causal, 1 / std::sqrt(static_cast<float>(head))};
    const double seen = static_cast<double>(tokens) * static_cast<double>(causal ? (length + 1) / 2.0 : length);
    const double product = 2 * seen * static_cast<double>(heads * head), bytes = static_cast<double>(q.bytes());
    Kernels& primitives = kernels(q);
    const std::string kind = causal ? "causal" : fmt::format("full, sequences of {}", length);
    const auto forward = [&](const std::string& by) {
      report(fmt::format("attention/forward/{}, width {}{}", kind, head, by), 2 * product, 4 * bytes,
             [&] { primitives.attention(q, k, v, shape, out, logsumexp); });
    };
    const auto backward = [&](const std::string& by) {
      report(fmt::format("attention/backward/{}, width {}{}", kind, head, by), 5 * product, 8 * bytes,
             [&] { primitives.attention_gradient(dout, q, k, v, out, logsumexp, shape, dq, dk, dv); });
    };
    forward("");
    backward("");
    const CudnnScope cudnn(device_);
    if (cuda::attention_by_cudnn(q, k, v, shape, out, logsumexp)) forward("/cudnn");
    if (cuda::attention_gradient_by_cudnn(dout, q, k, v, out, logsumexp, shape, dq, dk, dv)) backward("/cudnn");
  }

  void patch_embedding() const {
    constexpr std::int64_t side = 224, patch = 14, out = 1024;
    const std::int64_t patches = (side / patch) * (side / patch), images = std::max<std::int64_t>(1, tokens_ / patches);
    const Tensor pixels = normal({images, 3, side, side}, DType::bf16, device_);
    const Tensor weight = normal({out, 3 * patch * patch}, DType::bf16, device_);
    const Tensor y = Tensor::empty({images * patches, out}, DType::bf16, device_);
    Kernels& primitives = kernels(y);
    const LinearWeightPtr w = primitives.make_linear_weight(weight, Packing::none);
    const double flops = 2.0 * static_cast<double>(y.numel() * weight.dim(1));
    const auto measure = [&](const std::string& by) {
      report("patch_embedding" + by, flops, static_cast<double>(pixels.bytes() + weight.bytes() + y.bytes()),
             [&] { primitives.patch_embedding(pixels, patch, *w, {}, y); });
    };
    measure("");
    const CudnnScope cudnn(device_);
    if (cuda::patch_embedding_by_cudnn(pixels, patch, weight, {}, y)) measure("/cudnn");
  }

  // ---- bound by bandwidth: their operations are in docs/cuda.md --------------------------------------------------

  Tensor activations() const { return normal({tokens_, width_}, DType::bf16, device_); }

  void norms() const {
    const Tensor x = activations(), dy = activations(), residual = activations(), y = x.empty_like();
    const Tensor weight = normal({width_}, DType::bf16, device_),
                 dweight = Tensor::zeros({width_}, DType::f32, device_);
    const Tensor mean = Tensor::zeros({tokens_}, DType::f32, device_),
                 inv = Tensor::full({tokens_}, DType::f32, 1, device_);
    Kernels& k = kernels(x);
    const auto n = static_cast<double>(x.numel()), bytes = static_cast<double>(x.bytes());
    report("layer_norm/bf16", 8 * n, 2 * bytes, [&] { k.layer_norm(x, weight, weight, 1e-5F, y, mean, inv); });
    report("layer_norm_input_gradient/bf16", 12 * n, 3 * bytes,
           [&] { k.layer_norm_input_gradient(dy, x, weight, mean, inv, y); });
    report("rms_norm with residual/bf16", 8 * n, 4 * bytes, [&] { k.rms_norm(x, residual, weight, 1e-5F, y, inv); });
    report("rms_norm_input_gradient/bf16", 12 * n, 3 * bytes,
           [&] { k.rms_norm_input_gradient(dy, x, weight, inv, y); });
    report("rms_norm_weight_gradient/bf16", 4 * n, 2 * bytes, [&] { k.rms_norm_weight_gradient(dy, x, inv, dweight); });
  }

  void elementwise() const {
    const Tensor x = activations(), other = activations(), y = x.empty_like();
    const Tensor gate_up = normal({tokens_, 2 * width_}, DType::bf16, device_), dgate_up = gate_up.empty_like();
    const Tensor ids = Tensor::zeros({tokens_, 2}, DType::i32, device_);
    Kernels& k = kernels(x);
    const auto n = static_cast<double>(x.numel()), bytes = static_cast<double>(x.bytes());
    report("gelu/bf16", 10 * n, 2 * bytes, [&] { k.activation(Activation::gelu_tanh, x, y); });
    report("gelu_gradient/bf16", 10 * n, 3 * bytes, [&] { k.activation_gradient(Activation::gelu_tanh, x, other, y); });
    report("swiglu/bf16", 8 * n, 3 * bytes, [&] { k.swiglu(gate_up, y); });
    report("swiglu_gradient/bf16", 16 * n, 5 * bytes, [&] { k.swiglu_gradient(gate_up, x, dgate_up); });
    report("add/bf16", n, 3 * bytes, [&] { k.add(x, other, y); });
    report("dropout/bf16", n, 2 * bytes, [&] { k.dropout(x, 0.1F, RandomKey{}, ids, y); });
    const std::int64_t head = std::min<std::int64_t>(width_, 128);
    const Shape heads{tokens_, width_ / head, head};
    const Tensor positions = Tensor::zeros({tokens_}, DType::i32, device_);
    report("rotary_embedding/bf16", 6 * n, 2 * bytes,
           [&] { k.rotary_embedding(x.view(heads), positions, 1e4F, false, y.view(heads)); });
    report("softmax/bf16", 6 * n, 2 * bytes, [&] { k.softmax(x, y); });
  }

  void losses() const {
    constexpr std::int64_t vocabulary = 32000;
    const Tensor logits = normal({tokens_, vocabulary}, DType::bf16, device_);
    const Tensor labels = Tensor::zeros({tokens_}, DType::i32, device_);
    const Tensor losses = Tensor::zeros({tokens_}, DType::f32, device_), logsumexp = losses.clone();
    Kernels& k = kernels(logits);
    const auto n = static_cast<double>(logits.numel()), bytes = static_cast<double>(logits.bytes());
    report("cross_entropy/bf16", 6 * n, bytes, [&] { k.cross_entropy(logits, labels, losses, logsumexp); });
    report("cross_entropy_gradient/bf16", 6 * n, 2 * bytes,
           [&] { k.cross_entropy_gradient(logits, labels, logsumexp, 1e-3F, logits); });
  }

  void rows() const {
    const Tensor x = activations(), y = x.empty_like();
    std::vector<std::int32_t> backwards;
    for (std::int64_t i = tokens_; i-- > 0;) backwards.push_back(static_cast<std::int32_t>(i));
    const Tensor order = Tensor::from(backwards, {tokens_}, device_);
    Kernels& k = kernels(x);
    report("gather_rows/bf16", 0, 2 * static_cast<double>(x.bytes()), [&] { k.gather_rows(x, order, y); });
    const std::int64_t images = std::max<std::int64_t>(1, tokens_ / 256);
    const Tensor pixels = normal({images, 3, 224, 224}, DType::bf16, device_);
    const Tensor patches = Tensor::empty({images * 256, 3 * 14 * 14}, DType::bf16, device_);
    report("extract_patches/bf16", 0, 2 * static_cast<double>(pixels.bytes()),
           [&] { k.extract_patches(pixels, 14, patches); });
  }

  void optimizer() const {
    const std::int64_t count = tokens_ * width_;
    const Tensor master = normal({count}, DType::f32, device_), gradient = master.clone();
    const Tensor m = Tensor::zeros({count}, DType::f32, device_), v = m.clone();
    const Tensor value = Tensor::empty({count}, DType::bf16, device_), sum = Tensor::zeros({1}, DType::f64, device_);
    Kernels& k = kernels(master);
    const auto n = static_cast<double>(count);
    report("sum_of_squares/f32", n, 4 * n, [&] { k.sum_of_squares(gradient, sum); });
    report("adamw/bf16", 15 * n, 30 * n, [&] { k.adamw(master, m, v, gradient, value, {.learning_rate = 1e-6F}); });
  }

  Device& device_;
  std::int64_t tokens_, width_;
  double seconds_;
};

int run(std::map<std::string, std::string> options) {
  Device* device = nullptr;
  try {
    device = &open_device(options["device"]);
  } catch (const Error& error) {
    constexpr int skipped = 77;
    fmt::print(stderr, "{}\n", error.message());
    return skipped;
  }
  Bench(*device, std::stoll(options["tokens"]), std::stoll(options["width"]), std::stod(options["seconds"])).run();
  return 0;
}

}  // namespace
}  // namespace skymm

int main(int argc, char** argv) {
  std::map<std::string, std::string> options{
      {"device", "cuda"}, {"tokens", "4096"}, {"width", "4096"}, {"seconds", "0.3"}};
  for (int i = 1; i < argc; i += 2) {
    const std::string name = argv[i];
    if (i + 1 == argc || name.rfind("--", 0) != 0 || !options.count(name.substr(2))) {
      fmt::print(stderr, "bench_cuda_kernels: '{}' is not an option with a value; see the head of its source\n", name);
      return 2;
    }
    options[name.substr(2)] = argv[i + 1];
  }
  try {
    return skymm::run(options);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
