#include "launch/evaluation/sampling.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "core/error.hpp"

namespace skymm {
namespace {

std::int32_t draw(std::vector<float> logits, const SamplingOptions& options, std::uint32_t step = 0,
                  const std::vector<std::int32_t>& history = {}) {
  return next_token(logits, history, options, 0, step);
}

std::vector<int> counts(const std::vector<float>& logits, const SamplingOptions& options, int draws) {
  std::vector<int> count(logits.size());
  for (int i = 0; i < draws; ++i)
    ++count[static_cast<std::size_t>(draw(logits, options, static_cast<std::uint32_t>(i)))];
  return count;
}

TEST(Sampling, GreedyTakesTheFirstOfTheLargest) {
  EXPECT_EQ(draw({0, 3, 1, 3}, {}), 1);
  EXPECT_EQ(draw({0, 3, 1, 5}, {.temperature = 1, .top_k = 1}), 3);
  EXPECT_EQ(draw({0, 3, 1, 5}, {.temperature = 1, .top_p = 0.1F}), 3);
}

TEST(Sampling, DrawsInProportion) {
  const std::vector<float> logits{std::log(0.5F), std::log(0.3F), std::log(0.2F)};
  const std::vector<int> plain = counts(logits, {.temperature = 1}, 20000);
  EXPECT_NEAR(plain[0], 10000, 300);
  EXPECT_NEAR(plain[1], 6000, 300);
  // at half the temperature probabilities are squared: 0.25, 0.09, 0.04 of 0.38
  const std::vector<int> cold = counts(logits, {.temperature = 0.5F}, 20000);
  EXPECT_NEAR(cold[0], 20000 * 0.25 / 0.38, 300);
  EXPECT_NEAR(cold[2], 20000 * 0.04 / 0.38, 300);
}

TEST(Sampling, TopKAndTopPLeaveOutTheUnlikely) {
  const std::vector<float> logits{std::log(0.2F), std::log(0.5F), std::log(0.3F)};
  EXPECT_EQ(counts(logits, {.temperature = 1, .top_k = 2}, 500)[0], 0);
  const std::vector<int> nucleus = counts(logits, {.temperature = 1, .top_p = 0.7F}, 2000);  // 0.5, then 0.8
  EXPECT_EQ(nucleus[0], 0);
  EXPECT_NEAR(nucleus[1], 1250, 120);
  EXPECT_EQ(counts(logits, {.temperature = 1, .top_p = 0.5F}, 500)[1], 500);
}

TEST(Sampling, RepetitionPenaltyLowersWhatWasSaid) {
  const SamplingOptions penalty{.repetition_penalty = 2};
  EXPECT_EQ(draw({4, 3, 0}, penalty, 0, {0, 0, -1}), 1);  // 4 / 2, once; a visual slot is no token
  EXPECT_EQ(draw({-1, -1.5F, -9}, penalty, 0, {0}), 1);   // -1 * 2
  EXPECT_EQ(draw({4, 3, 0}, penalty, 0, {0, 1, 2}), 0);
}

TEST(Sampling, DependsOnSeedSequenceAndStepAlone) {
  const std::vector<float> logits(1000, 0.0F);
  const SamplingOptions one{.temperature = 1, .seed = 1}, two{.temperature = 1, .seed = 2};
  EXPECT_EQ(draw(logits, one, 7), draw(logits, one, 7));
  EXPECT_NE(draw(logits, one, 7), draw(logits, one, 8));
  EXPECT_NE(draw(logits, one, 7), draw(logits, two, 7));
}

TEST(Sampling, SaysWhatIsOutOfRange) {
  EXPECT_THROW(check_sampling({.temperature = -1}), Error);
  EXPECT_THROW(check_sampling({.top_k = -1}), Error);
  EXPECT_THROW(check_sampling({.top_p = 0}), Error);
  EXPECT_THROW(check_sampling({.top_p = 1.5F}), Error);
  EXPECT_THROW(check_sampling({.repetition_penalty = 0}), Error);
  EXPECT_THROW(draw({0, std::numeric_limits<float>::quiet_NaN()}, {.temperature = 1}), Error);
}

}  // namespace
}  // namespace skymm
