#include "launch/evaluation/sampling.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/error.hpp"
#include "core/random.hpp"

namespace skymm {
namespace {

void penalize(std::span<float> logits, std::span<const std::int32_t> history, float penalty) {
  std::vector<std::int32_t> seen(history.begin(), history.end());
  std::ranges::sort(seen);
  seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
  for (const std::int32_t token : seen) {
    if (token < 0 || token >= static_cast<std::int32_t>(logits.size())) continue;  // a visual slot
    float& logit = logits[static_cast<std::size_t>(token)];
    logit = logit > 0 ? logit / penalty : logit * penalty;
  }
}

// The likeliest tokens, the likeliest first: top_k of them, or all.
std::vector<std::int32_t> likeliest(std::span<const float> logits, std::int64_t top_k) {
  std::vector<std::int32_t> tokens(logits.size());
  std::iota(tokens.begin(), tokens.end(), 0);
  const auto likelier = [&](std::int32_t a, std::int32_t b) {
    const float x = logits[static_cast<std::size_t>(a)], y = logits[static_cast<std::size_t>(b)];
    return x != y ? x > y : a < b;
  };
  const auto kept = top_k > 0 ? std::min(tokens.size(), static_cast<std::size_t>(top_k)) : tokens.size();
  std::partial_sort(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(kept), tokens.end(), likelier);
  tokens.resize(kept);
  return tokens;
}

}  // namespace

void check_sampling(const SamplingOptions& o) {
  check(o.temperature >= 0 && std::isfinite(o.temperature), "temperature {} is out of range; give a number from 0",
        o.temperature);
  check(o.top_k >= 0, "top-k {} is out of range; give a whole number from 0 (0: all)", o.top_k);
  check(o.top_p > 0 && o.top_p <= 1, "top-p {} is out of range; give a number above 0, at most 1", o.top_p);
  check(o.repetition_penalty > 0 && std::isfinite(o.repetition_penalty),
        "repetition penalty {} is out of range; give a number above 0 (1: none)", o.repetition_penalty);
}

std::int32_t next_token(std::span<float> logits, std::span<const std::int32_t> history, const SamplingOptions& options,
                        std::uint32_t sequence, std::uint32_t step) {
  check(std::ranges::none_of(logits, [](float x) { return std::isnan(x); }),
        "the model's output is not a number; its weights are damaged, or training diverged");
  if (options.repetition_penalty != 1) penalize(logits, history, options.repetition_penalty);
  if (options.temperature == 0) {
    return static_cast<std::int32_t>(std::ranges::max_element(logits) - logits.begin());
  }
  const std::vector<std::int32_t> tokens = likeliest(logits, options.top_k);
  const double largest = logits[static_cast<std::size_t>(tokens[0])];
  std::vector<double> weights;
  double sum = 0;
  for (const std::int32_t token : tokens) {
    weights.push_back(std::exp((logits[static_cast<std::size_t>(token)] - largest) / options.temperature));
    sum += weights.back();
  }
  std::size_t kept = 0;
  double kept_sum = 0;
  while (kept < weights.size() && (kept == 0 || kept_sum < options.top_p * sum)) kept_sum += weights[kept++];
  double rest = uniform(philox(options.seed, {step, sequence, 0, 0})[0]) * kept_sum;
  for (std::size_t i = 0; i < kept; ++i) {
    rest -= weights[i];
    if (rest < 0) return tokens[i];
  }
  return tokens[kept - 1];
}

}  // namespace skymm
