// Primitives over rows in double precision, written plainly; d is the width of a row.
#pragma once

#include <algorithm>
#include <cmath>

#include "ops/reference/reference_matrix.hpp"

namespace skymm::testing {

// f(row) for each row of d elements, the results one after the other.
template <class F>
Values by_rows(const Values& x, std::int64_t d, const F& f) {
  Values all;
  for (std::size_t t = 0; t < x.size(); t += d) {
    const Values y = f(Values(x.begin() + t, x.begin() + t + d), t / d);
    all.insert(all.end(), y.begin(), y.end());
  }
  return all;
}

inline double dot(const Values& x, const Values& y) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
  return sum;
}

inline Values row_of(const Values& x, std::size_t row, std::int64_t d) {
  return Values(x.begin() + row * d, x.begin() + (row + 1) * d);
}

// Statistics of each row: centre (0 for RMS norm) and 1 / deviation.
struct Normalized {
  Values centre, inverse, y;
};

inline Normalized reference_norm(const Values& x, const Values& weight, const Values& bias, double eps, bool centred,
                                 std::int64_t d) {
  Normalized n;
  n.y = by_rows(x, d, [&](Values row, std::size_t) {
    double mean = 0, square = 0;
    if (centred) {
      for (const double v : row) mean += v / d;
    }
    for (const double v : row) square += (v - mean) * (v - mean) / d;
    n.centre.push_back(mean);
    n.inverse.push_back(1 / std::sqrt(square + eps));
    for (std::int64_t j = 0; j < d; ++j) {
      row[j] = (row[j] - mean) * n.inverse.back() * (weight.empty() ? 1 : weight[j]) + (bias.empty() ? 0 : bias[j]);
    }
    return row;
  });
  return n;
}

struct NormGradient {
  Values dx, dweight, dbias;
};

inline NormGradient reference_norm_gradient(const Values& dy, const Values& x, const Values& weight,
                                            const Normalized& n, bool centred, std::int64_t d) {
  NormGradient out{.dweight = Values(d), .dbias = Values(d)};
  out.dx = by_rows(x, d, [&](Values row, std::size_t t) {
    Values g = row_of(dy, t, d);
    double average = 0, along = 0;
    for (std::int64_t j = 0; j < d; ++j) {
      row[j] = (row[j] - n.centre[t]) * n.inverse[t];
      out.dweight[j] += g[j] * row[j];
      out.dbias[j] += g[j];
      if (!weight.empty()) g[j] *= weight[j];
      average += g[j] / d;
      along += g[j] * row[j] / d;
    }
    for (std::int64_t j = 0; j < d; ++j) row[j] = n.inverse[t] * (g[j] - (centred ? average : 0) - row[j] * along);
    return row;
  });
  return out;
}

inline Values reference_l2_normalize(const Values& x, double eps, std::int64_t d) {
  return by_rows(x, d, [&](Values row, std::size_t) {
    const double norm = std::max(std::sqrt(dot(row, row)), eps);
    for (double& v : row) v /= norm;
    return row;
  });
}

inline Values reference_l2_normalize_gradient(const Values& dy, const Values& x, double eps, std::int64_t d) {
  return by_rows(x, d, [&](Values row, std::size_t t) {
    const Values g = row_of(dy, t, d);
    const double norm = std::sqrt(dot(row, row)), along = norm > eps ? dot(row, g) / (norm * norm) : 0;
    for (std::int64_t j = 0; j < d; ++j) row[j] = (g[j] - row[j] * along) / std::max(norm, eps);
    return row;
  });
}

inline double reference_sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

inline double reference_activation_slope(Activation kind, double x) {
  const auto swish = [x](double s) {
    const double sigmoid = reference_sigmoid(s * x);
    return sigmoid * (1 + s * x * (1 - sigmoid));
  };
  switch (kind) {
    case Activation::relu:
      return x > 0 ? 1 : 0;
    case Activation::silu:
      return swish(1);
    case Activation::gelu:
      return 0.5 * std::erfc(-x / std::sqrt(2.0)) + x * std::exp(-0.5 * x * x) / std::sqrt(2 * M_PI);
    case Activation::gelu_tanh: {
      const double c = std::sqrt(2 / M_PI), tanh = std::tanh(c * (x + 0.044715 * x * x * x));
      return 0.5 * (1 + tanh) + 0.5 * x * (1 - tanh * tanh) * c * (1 + 3 * 0.044715 * x * x);
    }
    case Activation::quick_gelu:
      return swish(1.702);
    default:
      return 1;
  }
}

// d: of a row of gate_up, [gate | up]
inline Values reference_swiglu(const Values& gate_up, std::int64_t d) {
  return by_rows(gate_up, d, [&](const Values& row, std::size_t) {
    Values y(d / 2);
    for (std::int64_t j = 0; j < d / 2; ++j) y[j] = row[j] * reference_sigmoid(row[j]) * row[j + d / 2];
    return y;
  });
}

inline Values reference_swiglu_gradient(const Values& gate_up, const Values& dy, std::int64_t d) {
  return by_rows(gate_up, d, [&](const Values& row, std::size_t t) {
    Values dx(d);
    for (std::int64_t j = 0; j < d / 2; ++j) {
      const double g = dy[t * (d / 2) + j];
      dx[j] = g * row[j + d / 2] * reference_activation_slope(Activation::silu, row[j]);
      dx[j + d / 2] = g * row[j] * reference_sigmoid(row[j]);
    }
    return dx;
  });
}

// x: [tokens, heads, d]
inline Values reference_rotary(const Values& x, const std::vector<std::int32_t>& positions, double theta, bool inverse,
                               std::int64_t heads, std::int64_t d) {
  return by_rows(x, d, [&](const Values& row, std::size_t i) {
    Values y(d);
    for (std::int64_t j = 0; j < d / 2; ++j) {
      const double angle = (inverse ? -1 : 1) * positions[i / heads] * std::pow(theta, -2 * static_cast<double>(j) / d);
      y[j] = row[j] * std::cos(angle) - row[j + d / 2] * std::sin(angle);
      y[j + d / 2] = row[j + d / 2] * std::cos(angle) + row[j] * std::sin(angle);
    }
    return y;
  });
}

inline double reference_logsumexp(const Values& row) {
  const double max = *std::max_element(row.begin(), row.end());
  double sum = 0;
  for (const double v : row) sum += std::exp(v - max);
  return max + std::log(sum);
}

inline Values reference_softmax(const Values& x, std::int64_t d) {
  return by_rows(x, d, [&](Values row, std::size_t) {
    const double total = reference_logsumexp(row);
    for (double& v : row) v = std::exp(v - total);
    return row;
  });
}

inline Values reference_softmax_gradient(const Values& y, const Values& dy, std::int64_t d) {
  return by_rows(y, d, [&](Values row, std::size_t t) {
    const Values g = row_of(dy, t, d);
    const double along = dot(row, g);
    for (std::int64_t j = 0; j < d; ++j) row[j] *= g[j] - along;
    return row;
  });
}

inline Values reference_cross_entropy(const Values& logits, const std::vector<std::int32_t>& labels, std::int64_t d) {
  return by_rows(logits, d, [&](const Values& row, std::size_t t) {
    return Values{labels[t] < 0 ? 0 : reference_logsumexp(row) - row[labels[t]]};
  });
}

inline Values reference_cross_entropy_gradient(const Values& logits, const std::vector<std::int32_t>& labels,
                                               double scale, std::int64_t d) {
  return by_rows(logits, d, [&](const Values& row, std::size_t t) {
    Values dx = labels[t] < 0 ? Values(d) : reference_softmax(row, d);
    if (labels[t] >= 0) dx[labels[t]] -= 1;
    for (double& v : dx) v *= scale;
    return dx;
  });
}

}  // namespace skymm::testing
