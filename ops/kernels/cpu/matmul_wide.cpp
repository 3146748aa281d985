#include "ops/kernels/cpu/matmul_wide.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.hpp"
#include "ops/kernels/cpu/launch.hpp"

namespace skymm {
namespace {

constexpr std::int64_t panel_columns = 256;

struct Wide {
  Tensor storage;
  Matrix matrix;
};

// An f32 matrix of x's shape and order of dimensions, dense.
Wide dense(const Matrix& x) {
  Wide wide;
  {
    const PurposeScope purpose(Purpose::workspace);
    wide.storage = Tensor::empty({x.batch, x.rows, x.cols}, DType::f32);
  }
  const bool by_rows = x.col_step == 1;
  wide.matrix = {wide.storage.raw(),   DType::f32,           x.rows,  x.cols,
                 by_rows ? x.cols : 1, by_rows ? 1 : x.rows, x.batch, x.rows * x.cols};
  return wide;
}

// f(from, to, n) on each adjacent run of two matrices of one shape and order.
template <class From, class To, class F>
void each_run(const Matrix& from, const Matrix& to, F f) {
  const bool by_rows = from.col_step == 1;
  const std::int64_t runs = by_rows ? from.rows : from.cols, n = by_rows ? from.cols : from.rows;
  const std::int64_t from_step = by_rows ? from.row_step : from.col_step;
  const std::int64_t to_step = by_rows ? to.row_step : to.col_step;
  parallel_blocks(from.batch * runs, std::max<std::int64_t>(1, 8192 / std::max<std::int64_t>(n, 1)),
                  from.batch * runs * n, [&](std::int64_t begin, std::int64_t end) {
                    for (std::int64_t i = begin; i < end; ++i) {
                      f(static_cast<const From*>(from.data) + i / runs * from.batch_step + i % runs * from_step,
                        static_cast<To*>(to.data) + i / runs * to.batch_step + i % runs * to_step, n);
                    }
                  });
}

void widen(const Matrix& from, const Matrix& to) {
  each_run<BFloat16, float>(from, to, [](const BFloat16* x, float* y, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) y[i] = static_cast<float>(x[i]);
  });
}

void narrow(const Matrix& from, const Matrix& to) {
  each_run<float, BFloat16>(from, to, [](const float* x, BFloat16* y, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) y[i] = BFloat16(x[i]);
  });
}

Matrix columns(const Matrix& x, std::int64_t begin, std::int64_t end) {
  Matrix part = x;
  part.data = static_cast<char*>(x.data) + begin * x.col_step * static_cast<std::int64_t>(size_of(x.dtype));
  part.cols = end - begin;
  return part;
}

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

void matmul_widened(const Matrix& a, const Matrix& b, const Matrix& c, const Epilogue& epilogue) {
  const Wide wide_a = dense(a);
  widen(a, wide_a.matrix);
  for (std::int64_t begin = 0; begin < b.cols; begin += panel_columns) {
    const std::int64_t end = std::min(b.cols, begin + panel_columns);
    const Matrix part = columns(b, begin, end);
    const Wide wide_b = dense(part);
    widen(part, wide_b.matrix);

    Epilogue e = epilogue;
    if (e.bias != nullptr) {
      e.bias = static_cast<const char*>(e.bias) + begin * static_cast<std::int64_t>(size_of(e.bias_dtype));
    }
    Wide wide_bias;
    if (e.bias != nullptr && e.bias_dtype == DType::bf16) {
      const Matrix bias{const_cast<void*>(e.bias), DType::bf16, 1, end - begin, end - begin, 1};
      wide_bias = dense(bias);
      widen(bias, wide_bias.matrix);
      e.bias = wide_bias.matrix.data;
      e.bias_dtype = DType::f32;
    }
    const Matrix target = columns(c, begin, end);
    if (c.dtype == DType::f32) {
      matmul(wide_a.matrix, wide_b.matrix, target, e);
      continue;
    }
    const Wide wide_c = dense(target);
    if (e.accumulate) widen(target, wide_c.matrix);
    matmul(wide_a.matrix, wide_b.matrix, wide_c.matrix, e);
    narrow(wide_c.matrix, target);
  }
}

void finish_empty(const Matrix& c, const Epilogue& e) {
  for (std::int64_t i = 0; i < c.batch * c.rows; ++i) {
    const std::int64_t at = i / c.rows * c.batch_step + i % c.rows * c.row_step;
    for (std::int64_t j = 0; j < c.cols; ++j) {
      float bias = 0;
      if (e.bias != nullptr) {
        bias = e.bias_dtype == DType::bf16 ? static_cast<float>(static_cast<const BFloat16*>(e.bias)[j])
                                           : static_cast<const float*>(e.bias)[j];
      }
      const auto finish = [&](auto* to) {
        using T = std::remove_pointer_t<decltype(to)>;
        *to = static_cast<T>(apply(e.activation, bias) + (e.accumulate ? static_cast<float>(*to) : 0.0F));
      };
      if (c.dtype == DType::bf16) {
        finish(static_cast<BFloat16*>(c.data) + at + j);
      } else {
        finish(static_cast<float*>(c.data) + at + j);
      }
    }
  }
}

}  // namespace skymm
