#include "launch/training/peak.hpp"

#include <omp.h>

#include <algorithm>
#include <chrono>

#include "core/error.hpp"
#include "ops/kernels/kernels.hpp"

namespace skymm {
namespace {

constexpr double enough_seconds = 0.15;    // of measuring
constexpr double good_repetition = 0.004;  // seconds of one product: long against waking threads
constexpr std::int64_t widest = 16384;

class ThreadScope {
 public:
  explicit ThreadScope(int threads) : before_(omp_get_max_threads()) {
    if (threads > 0) omp_set_num_threads(threads);
  }
  ~ThreadScope() { omp_set_num_threads(before_); }
  ThreadScope(const ThreadScope&) = delete;
  ThreadScope& operator=(const ThreadScope&) = delete;

 private:
  int before_;
};

class Product {  // y [rows, width] = x [rows, width] W^T
 public:
  Product(std::int64_t rows, std::int64_t width, DType dtype, Device& device)
      : x_(Tensor::full({rows, width}, dtype, 0.5, device)), y_(Tensor::zeros({rows, width}, dtype, device)) {
    const Tensor weight = Tensor::full({width, width}, dtype, 0.25, device);
    weight_ = kernels(x_).make_linear_weight(weight, Packing::forward);
  }
  double seconds() const {
    const auto start = std::chrono::steady_clock::now();
    kernels(x_).linear(x_, *weight_, Tensor(), Activation::none, y_);
    current_stream(x_.device()).synchronize();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  double gflop() const {
    return 2e-9 * static_cast<double>(x_.dim(0)) * static_cast<double>(x_.dim(1)) * static_cast<double>(x_.dim(1));
  }

 private:
  Tensor x_, y_;
  LinearWeightPtr weight_;
};

}  // namespace

double measured_gemm_peak(DType dtype, int threads, Device& device) {
  check(dtype == DType::f32 || dtype == DType::bf16, "the GEMM peak is measured in f32 or bf16, not {}",
        name_of(dtype));
  if (device.is_emulated()) return 0;
  const ThreadScope scope(threads);
  const PurposeScope purpose(Purpose::workspace);
  // Twice the width until a product is long enough, so that few and many cores, and GPUs, are measured well and
  // quickly.
  std::int64_t width = 512;
  Product product(width / 2, width, dtype, device);
  product.seconds();  // the first makes code and wakes threads
  for (; product.seconds() < good_repetition && width < widest; width *= 2) {
    product = Product(width, 2 * width, dtype, device);
    product.seconds();
  }
  double best = 0;
  for (double spent = 0; spent < enough_seconds;) {
    const double seconds = product.seconds();
    best = std::max(best, product.gflop() / seconds);
    spent += seconds;
  }
  return best;
}

}  // namespace skymm
