// Which token comes next: greedy, or drawn.
#pragma once

#include <cstdint>
#include <span>

namespace skymm {

// As in the field: repetition penalty, temperature, top-k and top-p, in this order, then a draw.
struct SamplingOptions {
  float temperature = 0;         // logits are divided by it; 0: greedy, the largest
  std::int64_t top_k = 0;        // only so many of the likeliest; 0: all
  float top_p = 1;               // only the fewest likeliest whose probabilities sum to this (Holtzman et al. 2020)
  float repetition_penalty = 1;  // logits of tokens in `history` are divided by it, multiplied where negative (CTRL:
                                 // Keskar et al. 2019)
  std::uint64_t seed = 1;

  bool is_argmax() const { return temperature == 0 && repetition_penalty == 1; }
};

// Throws Error that names the option which is out of its range.
void check_sampling(const SamplingOptions& options);

// logits [vocabulary], overwritten. The draw depends on the seed, `sequence` and `step` (the token's place in the
// answer) alone. Of equally likely tokens the first counts as the likelier. Throws Error where a logit is not a number.
std::int32_t next_token(std::span<float> logits, std::span<const std::int32_t> history, const SamplingOptions& options,
                        std::uint32_t sequence, std::uint32_t step);

}  // namespace skymm
