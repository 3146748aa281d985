#include "launch/training/step_guard.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace skymm {
namespace {

constexpr double decay = 0.99;

}  // namespace

std::string StepGuard::objection(double loss) const {
  if (!std::isfinite(loss)) return "the loss is not finite";
  if (options_.spike_zscore <= 0 || losses_ < losses_needed || variance_ <= 0) return "";
  const double z = (loss - mean_) / std::sqrt(variance_);
  if (z <= options_.spike_zscore) return "";
  return fmt::format("the loss of {:.4f} is {:.1f} standard deviations above its mean of {:.4f}", loss, z, mean_);
}

// The first losses weigh evenly, so that the mean does not lean on where it began.
void StepGuard::applied(double loss) {
  in_a_row_ = 0;
  ++losses_;
  const double weight = std::max(1 - decay, 1 / static_cast<double>(losses_));
  const double difference = loss - mean_;
  mean_ += weight * difference;
  variance_ = (1 - weight) * (variance_ + weight * difference * difference);
}

bool StepGuard::skipped() {
  ++skipped_;
  return ++in_a_row_ >= options_.most_skipped;
}

nlohmann::json StepGuard::state() const {
  return {
      {"mean", mean_}, {"variance", variance_}, {"losses", losses_}, {"in_a_row", in_a_row_}, {"skipped", skipped_}};
}

void StepGuard::restore(const nlohmann::json& state) {
  mean_ = state.value("mean", 0.0);
  variance_ = state.value("variance", 0.0);
  losses_ = state.value("losses", std::int64_t{0});
  in_a_row_ = state.value("in_a_row", std::int64_t{0});
  skipped_ = state.value("skipped", std::int64_t{0});
}

}  // namespace skymm
