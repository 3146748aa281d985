// AdamW over the trainable parameters of a model, for ranks that each hold all of them (data parallel, ZeRO stage 0).
#pragma once

#include <string>
#include <vector>

#include "core/communicator.hpp"
#include "core/parameter.hpp"

namespace skymm {

struct OptimizerOptions {
  float beta1 = 0.9F;
  float beta2 = 0.95F;
  float epsilon = 1e-8F;
  float weight_decay = 0.0F;  // of matrices; vectors (norms, biases) are not decayed
  float clip_norm = 1.0F;     // largest global gradient norm; 0: no clipping
};

// What one step did.
struct StepReport {
  double gradient_norm = 0;  // of the mean gradient over all tokens, before clipping
  bool skipped = false;      // a non-finite gradient somewhere: no rank changed anything
};

class Optimizer {
 public:
  // State of one parameter: f32 master weights and Adam's moments, flat views.
  struct State {
    std::string name;
    Shape shape;
    Tensor master, m, v;
  };

  // Takes the parameters' present values as masters. From here on Parameter::gradient is a view of one flat buffer.
  Optimizer(std::vector<NamedParameter> parameters, const OptimizerOptions& options, Communicator& communicator);

  // Sums gradients over ranks, divides by `weight` (the tokens of the global batch), clips by the global norm, updates
  // masters and values, and zeroes the gradients. Every rank calls it, whether it had data or not.
  StepReport step(float learning_rate, double weight);

  std::vector<State>& states() { return states_; }
  std::int64_t steps() const { return steps_; }
  // After a checkpoint's tensors were copied into states(): values are made from masters again.
  void restore(std::int64_t steps);

 private:
  double gradient_norm() const;

  std::vector<NamedParameter> parameters_;  // in the order of names
  OptimizerOptions options_;
  Communicator& communicator_;
  std::vector<State> states_;
  Tensor gradients_;  // f32, all parameters one after the other
  std::int64_t steps_ = 0;
};

// Linear warm-up from 0, then constant or a cosine from 1 down to `minimum`. A factor of the peak rate; step from 0.
enum class Schedule : std::uint8_t { constant, cosine };
float schedule_factor(Schedule schedule, std::int64_t step, std::int64_t warmup, std::int64_t total, float minimum);

}  // namespace skymm
