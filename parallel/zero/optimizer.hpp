// AdamW over what trains, its states, gradients and weights sharded over data-parallel ranks as ZeRO has it
// (Rajbhandari et al. 2020).
//
//   stage 0  everything on every rank; gradients are summed once a step (all_reduce)
//   stage 1  masters and moments are sharded; gradients are summed to their owners, updated weights gathered
//   stage 2  gradients too: each chunk's are reduced to their owners as soon as a micro-batch's backward is done
//   stage 3  weights too: gathered before use, released after
//
// Whatever the stage, the same sums are made in the same order over ranks, so training is the same up to rounding.
#pragma once

#include <string>
#include <vector>

#include "core/communicator.hpp"
#include "core/parameter.hpp"
#include "core/slice.hpp"

namespace skymm {

struct OptimizerOptions {
  float beta1 = 0.9F;
  float beta2 = 0.95F;
  float epsilon = 1e-8F;
  float weight_decay = 0.0F;  // of matrices; vectors (norms, biases) are not decayed
  float clip_norm = 1.0F;     // largest global gradient norm; 0: no clipping
};

struct ZeroOptions {
  int stage = 0;
  std::int64_t bucket_bytes = std::int64_t{16} << 20;  // of gradients or weights that one collective moves
};

// What one step did.
struct StepReport {
  double gradient_norm = 0;  // of the mean gradient over all tokens and the whole model, before clipping
  bool skipped = false;      // a non-finite gradient somewhere: no rank changed anything
};

class Optimizer {
 public:
  // What this rank keeps of one parameter: f32 master weights and Adam's moments, flat, of the elements of `slice`.
  struct State {
    Slice slice;
    Tensor master, m, v;
  };

  // chunks: the trainable parameters of each piece of the model on this rank; may be empty, as of a stage that trains
  // nothing. data: the ranks that hold the same pieces; world: all ranks, for the norm. Takes the present values as
  // masters. From here on Parameter::gradient and, at stage 3, Parameter::value belong to this object.
  Optimizer(std::vector<std::vector<NamedParameter>> chunks, const OptimizerOptions& options, const ZeroOptions& zero,
            Communicator& data, Communicator& world);
  // One chunk, stage 0.
  Optimizer(std::vector<NamedParameter> parameters, const OptimizerOptions& options, Communicator& world);
  ~Optimizer();

  // The collectives that a schedule calls (Instruction::Kind), on all ranks of `data` in the same order whether they
  // had anything to add or not. Nothing happens at stages that do not need them.
  void gather_weights(int chunk);  // begins; the first use waits
  void release_weights(int chunk);
  void reduce_gradients(int chunk);  // adds this micro-batch's gradients to the owners' shards, and clears them

  // Sums what is left to sum, divides by `weight` (the tokens of the global batch), clips by the global norm, updates
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
  Communicator& data_;
  std::vector<State> states_;
  Tensor gradients_;  // f32, all parameters one after the other
  std::int64_t steps_ = 0;
};

}  // namespace skymm
