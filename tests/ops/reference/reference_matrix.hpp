// Matrix products in double precision, written plainly.
#pragma once

#include <cmath>

#include "ops/kernels/kernels.hpp"
#include "support/support.hpp"

namespace skymm::testing {

// [m, k] times [k, n], row-major
inline Values reference_product(const Values& a, const Values& b, std::int64_t m, std::int64_t k, std::int64_t n) {
  Values c(static_cast<std::size_t>(m * n));
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t p = 0; p < k; ++p) {
      for (std::int64_t j = 0; j < n; ++j) c[i * n + j] += a[i * k + p] * b[p * n + j];
    }
  }
  return c;
}

inline Values reference_transpose(const Values& x, std::int64_t rows, std::int64_t cols) {
  Values y(x.size());
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < cols; ++j) y[j * rows + i] = x[i * cols + j];
  }
  return y;
}

// y += scale x
inline Values reference_sum(Values y, const Values& x, double scale = 1.0) {
  for (std::size_t i = 0; i < y.size(); ++i) y[i] += scale * x[i];
  return y;
}

inline double reference_activation(Activation kind, double x) {
  switch (kind) {
    case Activation::relu:
      return x > 0 ? x : 0;
    case Activation::silu:
      return x / (1 + std::exp(-x));
    case Activation::gelu:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case Activation::gelu_tanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::quick_gelu:
      return x / (1 + std::exp(-1.702 * x));
    default:
      return x;
  }
}

}  // namespace skymm::testing
