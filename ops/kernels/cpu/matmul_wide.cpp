#include "ops/kernels/cpu/matmul_wide.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <vector>

namespace skymm {
namespace {

// An f32 matrix of x's shape and order of dimensions, dense, in memory that this thread keeps under `slot`.
Matrix dense(const Matrix& x, int slot) {
  thread_local std::array<Tensor, 4> kept;
  Tensor& memory = kept[slot];
  const std::int64_t n = x.rows * x.cols;
  if (!memory.defined() || memory.numel() < n) {
    const PurposeScope purpose(Purpose::workspace);
    memory = Tensor();
    memory = Tensor::empty({n}, DType::f32);
  }
  const bool by_rows = x.col_step == 1;
  return {memory.raw(), DType::f32, x.rows, x.cols, by_rows ? x.cols : 1, by_rows ? 1 : x.rows};
}

// f(from, to, n) on each adjacent run of two matrices of one shape and order.
template <class From, class To, class F>
void each_run(const Matrix& from, const Matrix& to, F f) {
  const bool by_rows = from.col_step == 1;
  const std::int64_t runs = by_rows ? from.rows : from.cols, n = by_rows ? from.cols : from.rows;
  const std::int64_t from_step = by_rows ? from.row_step : from.col_step;
  const std::int64_t to_step = by_rows ? to.row_step : to.col_step;
  for (std::int64_t i = 0; i < runs; ++i) {
    f(static_cast<const From*>(from.data) + i * from_step, static_cast<To*>(to.data) + i * to_step, n);
  }
}

Matrix widen(const Matrix& from, int slot) {
  const Matrix to = dense(from, slot);
  each_run<BFloat16, float>(from, to, [](const BFloat16* x, float* y, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) y[i] = static_cast<float>(x[i]);
  });
  return to;
}

void narrow(const Matrix& from, const Matrix& to) {
  each_run<float, BFloat16>(from, to, [](const float* x, BFloat16* y, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) y[i] = BFloat16(x[i]);
  });
}

// The bias of n columns as floats; none takes no memory.
class Bias {
 public:
  Bias(const Epilogue& e, std::int64_t n) : values_(e.bias != nullptr ? static_cast<std::size_t>(n) : 0) {
    for (std::int64_t j = 0; e.bias != nullptr && j < n; ++j) {
      values_[static_cast<std::size_t>(j)] = e.bias_dtype == DType::bf16
                                                 ? static_cast<float>(static_cast<const BFloat16*>(e.bias)[j])
                                                 : static_cast<const float*>(e.bias)[j];
    }
  }
  bool is_zero() const { return values_.empty(); }
  float operator[](std::int64_t j) const { return values_[static_cast<std::size_t>(j)]; }

 private:
  std::vector<float> values_;
};

float apply(Activation activation, float x) {
  switch (activation) {
    case Activation::relu:
      return std::max(x, 0.0F);
    case Activation::silu:
      return x / (1 + std::exp(-x));
    case Activation::gelu:
      return 0.5F * x * (1 + std::erf(x / std::numbers::sqrt2_v<float>));
    case Activation::gelu_tanh:
      return 0.5F * x * (1 + std::tanh(0.7978845608F * (x + 0.044715F * x * x * x)));
    case Activation::quick_gelu:
      return x / (1 + std::exp(-1.702F * x));
    default:
      return x;
  }
}

}  // namespace

void multiply_widened(const Matrix& a, const Matrix& b, const Matrix& c, const Epilogue& epilogue,
                      MultiplyBlock multiply) {
  Epilogue e = epilogue;
  if (e.bias != nullptr && e.bias_dtype == DType::bf16) {
    e.bias = widen({const_cast<void*>(e.bias), DType::bf16, 1, c.cols, c.cols, 1}, 3).data;
    e.bias_dtype = DType::f32;
  }
  const Matrix wide_a = widen(a, 0), wide_b = widen(b, 1);
  if (c.dtype == DType::f32) return multiply(wide_a, wide_b, c, e);
  const Matrix wide_c = e.accumulate ? widen(c, 2) : dense(c, 2);
  multiply(wide_a, wide_b, wide_c, e);
  narrow(wide_c, c);
}

namespace {

template <class T>
void finish_row(const float* product, const Bias& bias, const Epilogue& e, T* c, std::int64_t n) {
  if (product != nullptr && e.activation == Activation::none && !e.accumulate) {  // loops that compilers vectorise
    if (bias.is_zero()) {
      for (std::int64_t j = 0; j < n; ++j) c[j] = static_cast<T>(product[j]);
    } else {
      for (std::int64_t j = 0; j < n; ++j) c[j] = static_cast<T>(product[j] + bias[j]);
    }
    return;
  }
  for (std::int64_t j = 0; j < n; ++j) {
    const float x = (product != nullptr ? product[j] : 0.0F) + (bias.is_zero() ? 0.0F : bias[j]);
    c[j] = static_cast<T>(apply(e.activation, x) + (e.accumulate ? static_cast<float>(c[j]) : 0.0F));
  }
}

}  // namespace

void finish_product(const float* product, const Matrix& c, const Epilogue& e) {
  const Bias bias(e, c.cols);
  for (std::int64_t i = 0; i < c.batch * c.rows; ++i) {
    const float* from = product != nullptr ? product + i * c.cols : nullptr;
    void* const to = c.at(i / c.rows * c.batch_step + i % c.rows * c.row_step);
    c.dtype == DType::bf16 ? finish_row(from, bias, e, static_cast<BFloat16*>(to), c.cols)
                           : finish_row(from, bias, e, static_cast<float*>(to), c.cols);
  }
}

void finish_empty(const Matrix& c, const Epilogue& e) { finish_product(nullptr, c, e); }

}  // namespace skymm
