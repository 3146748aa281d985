// AdamW over what trains, its states, gradients and weights sharded over data-parallel ranks as ZeRO has it
// (Rajbhandari et al. 2020).
//
//   stage 0  everything on every rank; gradients are summed once a step (all_reduce)
//   stage 1  masters and moments are sharded; gradients are summed to their owners, updated weights gathered
//   stage 2  gradients too: each micro-batch's are reduced to their owners
//   stage 3  weights too: gathered before use, released after
//
// Whatever the stage, gradients are summed in f32 in the order of ranks, and the norm in f64 in the order of names, so
// training is the same up to rounding, and bit for bit on the same grid. What each stage holds and moves:
// parallel/zero/memory.hpp.
#pragma once

#include <memory>
#include <vector>

#include "core/communicator.hpp"
#include "core/parameter.hpp"
#include "core/slice.hpp"
#include "parallel/zero/holders.hpp"

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
  std::int64_t bucket_bytes = std::int64_t{16} << 20;  // the most of gradients or weights that one collective moves
  bool overlap = true;  // false: each sum of gradients is awaited before anything else is done
};

// What one step did.
struct StepReport {
  double gradient_norm = 0;  // of the mean gradient over all tokens and the whole model, before clipping
  bool skipped = false;      // a non-finite gradient somewhere: no rank changed anything
};

class Reductions;
class ZeroChunk;

class Optimizer {
 public:
  // What this rank keeps of one parameter: f32 master weights and Adam's moments, flat, of the elements of `slice`.
  struct State {
    Slice slice;
    Tensor master, m, v;
  };

  // chunks: the trainable parameters of each piece of the model on this rank; may be empty, as of a stage that trains
  // nothing. data: the ranks that hold the same pieces; world: all ranks, for the norm. Takes the present values as
  // masters. From here on Parameter::gradient belongs to this object and, at stage 3, so does the memory of
  // Parameter::value: it is there between wait_weights() and release_weights() only. Collective over `world`.
  Optimizer(std::vector<std::vector<NamedParameter>> chunks, const OptimizerOptions& options, const ZeroOptions& zero,
            Communicator& data, Communicator& world);
  // One chunk, stage 0.
  Optimizer(std::vector<NamedParameter> parameters, const OptimizerOptions& options, Communicator& world);
  ~Optimizer();
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  // The collectives that a schedule calls (Instruction::Kind), on all ranks of `data` in the same order whether they
  // had anything to add or not. Nothing happens at stages that do not need them. gather_weights() only begins:
  // wait_weights() comes before use. gather and release nest: the weights stay until the last release.
  void gather_weights(int chunk);
  void wait_weights(int chunk);
  void release_weights(int chunk);
  // From stage 2 on: adds this micro-batch's gradients to the owners' shards, and clears them. A step calls it after
  // every micro-batch, or never: step() then sums what the micro-batches have added up. At stages 0 and 1 that sum
  // begins with the call that says `last`, or else in step(). It only begins: step() waits for its end.
  void reduce_gradients(int chunk, bool last = false);
  // Not collective: the micro-batch's gradient of this parameter is complete (Graph::on_complete), and will be reduced.
  // Buckets that lack no other begin their way at once. Below stage 2 only in the last micro-batch of a step.
  void complete_gradient(int chunk, const Parameter& parameter);

  // Sums what is left to sum, divides by `weight` (the tokens of the global batch), clips by the global norm, updates
  // masters and values, and zeroes the gradients. Every rank calls it, whether it had data or not.
  StepReport step(float learning_rate, double weight);
  // In place of step(), on all ranks: forgets the gradients of this step and changes nothing.
  void skip_step();

  // In the order of names and elements. A parameter whose elements this rank owns in several runs has a state for each.
  std::vector<State>& states() { return states_; }
  const std::vector<State>& states() const { return states_; }
  // All that trains, on all ranks of `world`, which has the same list everywhere.
  const std::vector<SpreadTensor>& tensors() const { return tensors_; }
  Communicator& world() const { return world_; }
  std::int64_t steps() const { return steps_; }
  // After a checkpoint's tensors were copied into states(): values are made from masters again. Collective over `data`.
  void restore(std::int64_t steps);

 private:
  // What step() does with a state: its gradient, the value that it rounds to, and its place among the sums of squares.
  struct Update {
    Tensor gradient, value;
    std::int64_t square = -1;  // -1: another rank, which holds the same, counts it
    std::int64_t end = 0;      // in the chunk's shard
  };

  ZeroChunk& chunk(int i) const;
  void find_squares();
  double gradient_norm() const;
  void update(const StepReport& report, float learning_rate, double weight);

  OptimizerOptions options_;
  bool overlap_;
  std::int64_t updated_together_;  // elements, before values are shared: those of this rank in a bucket, or all
  Communicator& world_;
  std::unique_ptr<Reductions> reductions_;
  std::vector<std::unique_ptr<ZeroChunk>> chunks_;
  std::vector<State> states_;
  std::vector<Update> updates_;                  // of the states
  std::vector<std::vector<std::size_t>> order_;  // of each chunk's states, as they lie in its shard
  std::vector<SpreadTensor> tensors_;
  std::int64_t squares_ = 0;  // slices that count in the norm, over all ranks
  std::int64_t steps_ = 0;
};

}  // namespace skymm
