#include "parallel/learning_rate.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace skymm {

float learning_rate_factor(LearningRateSchedule schedule, std::int64_t step, std::int64_t warmup, std::int64_t total,
                           float minimum) {
  if (step < warmup) return static_cast<float>(step + 1) / static_cast<float>(warmup);
  if (schedule == LearningRateSchedule::constant || total <= warmup) return 1.0F;
  const double progress = std::min(1.0, static_cast<double>(step - warmup) / static_cast<double>(total - warmup));
  return minimum + (1.0F - minimum) * static_cast<float>(0.5 * (1.0 + std::cos(std::numbers::pi * progress)));
}

}  // namespace skymm
