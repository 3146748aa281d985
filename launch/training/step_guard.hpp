// Keeps a bad step from harming the weights: its loss is not finite, or far above the losses before it.
//
// The mean and deviation that a loss is compared with weigh the losses of steps that were not skipped by 0.99 to the
// power of their age. The state goes into checkpoints, so that a run that resumes judges as one that went on.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace skymm {

class StepGuard {
 public:
  struct Options {
    double spike_zscore = 0;         // 0: spikes are let pass
    std::int64_t most_skipped = 10;  // steps in a row
  };
  static constexpr std::int64_t losses_needed = 20;  // before any of them is a spike

  explicit StepGuard(const Options& options) : options_(options) {}

  // Why the step is not to change the weights: "the loss is not finite", ...; empty where it may.
  std::string objection(double loss) const;

  void applied(double loss);
  // True where the run is to end: too many in a row.
  bool skipped();
  std::int64_t skipped_so_far() const { return skipped_; }

  nlohmann::json state() const;
  void restore(const nlohmann::json& state);  // of another version, what it lacks starts anew

 private:
  Options options_;
  double mean_ = 0, variance_ = 0;
  std::int64_t losses_ = 0, in_a_row_ = 0, skipped_ = 0;
};

}  // namespace skymm
