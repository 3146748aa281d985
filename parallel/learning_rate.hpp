// The learning rate over the steps of a run.
#pragma once

#include <cstdint>

namespace skymm {

// Linear warm-up from 0, then constant or a cosine from 1 down to `minimum`. A factor of the peak rate; step from 0.
enum class LearningRateSchedule : std::uint8_t { constant, cosine };
float learning_rate_factor(LearningRateSchedule schedule, std::int64_t step, std::int64_t warmup, std::int64_t total,
                           float minimum);

}  // namespace skymm
