// Attention and its gradient in double precision, written plainly.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "support/support.hpp"

namespace skymm::testing {

struct ReferenceAttention {
  std::vector<std::int64_t> queries, keys;  // lengths of the sequences
  std::int64_t heads = 1, kv_heads = 1, width = 1;
  bool causal = false;
  double scale = 1.0;

  static std::int64_t sum(const std::vector<std::int64_t>& x) {
    std::int64_t total = 0;
    for (const std::int64_t n : x) total += n;
    return total;
  }
  std::int64_t query_tokens() const { return sum(queries); }
  std::int64_t key_tokens() const { return sum(keys); }

  // f(query token, query head, key head, first key token, number of keys it sees)
  template <class F>
  void each_row(F f) const {
    std::int64_t q0 = 0, k0 = 0;
    for (std::size_t s = 0; s < queries.size(); ++s) {
      for (std::int64_t i = 0; i < queries[s]; ++i) {
        const std::int64_t seen = causal ? std::clamp<std::int64_t>(i + 1 + keys[s] - queries[s], 0, keys[s]) : keys[s];
        for (std::int64_t h = 0; h < heads; ++h) f(q0 + i, h, h / (heads / kv_heads), k0, seen);
      }
      q0 += queries[s];
      k0 += keys[s];
    }
  }

  const double* row(const Values& x, std::int64_t token, std::int64_t head, std::int64_t of) const {
    return x.data() + (token * of + head) * width;
  }
  double* row(Values& x, std::int64_t token, std::int64_t head, std::int64_t of) const {
    return x.data() + (token * of + head) * width;
  }
  double dot(const double* x, const double* y) const {
    double total = 0;
    for (std::int64_t i = 0; i < width; ++i) total += x[i] * y[i];
    return total;
  }

  // softmax(scale q k^T) of one row, and its logsumexp
  Values weights(const Values& q, const Values& k, std::int64_t token, std::int64_t h, std::int64_t kv, std::int64_t k0,
                 std::int64_t seen, double& logsumexp) const {
    Values p(static_cast<std::size_t>(seen));
    double top = -std::numeric_limits<double>::infinity(), total = 0;
    for (std::int64_t j = 0; j < seen; ++j) {
      p[j] = scale * dot(row(q, token, h, heads), row(k, k0 + j, kv, kv_heads));
      top = std::max(top, p[j]);
    }
    for (double& x : p) total += x = std::exp(x - top);
    for (double& x : p) x /= total;
    logsumexp = top + std::log(total);
    return p;
  }

  Values forward(const Values& q, const Values& k, const Values& v, Values* logsumexp = nullptr) const {
    Values out(q.size());
    if (logsumexp != nullptr) logsumexp->assign(static_cast<std::size_t>(query_tokens() * heads), 0);
    each_row([&](std::int64_t token, std::int64_t h, std::int64_t kv, std::int64_t k0, std::int64_t seen) {
      double lse = 0;
      const Values p = weights(q, k, token, h, kv, k0, seen, lse);
      for (std::int64_t j = 0; j < seen; ++j) {
        for (std::int64_t i = 0; i < width; ++i) {
          row(out, token, h, heads)[i] += p[j] * row(v, k0 + j, kv, kv_heads)[i];
        }
      }
      if (logsumexp != nullptr) (*logsumexp)[token * heads + h] = lse;
    });
    return out;
  }

  struct Gradients {
    Values dq, dk, dv;
  };

  Gradients backward(const Values& dout, const Values& q, const Values& k, const Values& v) const {
    Gradients g{Values(q.size()), Values(k.size()), Values(v.size())};
    each_row([&](std::int64_t token, std::int64_t h, std::int64_t kv, std::int64_t k0, std::int64_t seen) {
      double lse = 0, delta = 0;
      const Values p = weights(q, k, token, h, kv, k0, seen, lse);
      const double* const dy = row(dout, token, h, heads);
      Values dp(p.size());
      for (std::int64_t j = 0; j < seen; ++j) {
        dp[j] = dot(dy, row(v, k0 + j, kv, kv_heads));
        delta += p[j] * dp[j];
      }
      for (std::int64_t j = 0; j < seen; ++j) {
        const double ds = scale * p[j] * (dp[j] - delta);
        for (std::int64_t i = 0; i < width; ++i) {
          row(g.dv, k0 + j, kv, kv_heads)[i] += p[j] * dy[i];
          row(g.dq, token, h, heads)[i] += ds * row(k, k0 + j, kv, kv_heads)[i];
          row(g.dk, k0 + j, kv, kv_heads)[i] += ds * row(q, token, h, heads)[i];
        }
      }
    });
    return g;
  }
};

}  // namespace skymm::testing
