// The training loop. One Trainer a rank; all ranks of `world` run the same steps, each with its pieces of the model on
// its pipeline's share of each global batch.
//
//   step:  load, share with the pipeline -> the schedule: forward, backward (gradients add up), messages
//          -> sum over data-parallel ranks -> clip by the norm over all -> AdamW
//
// The loss is a sum over answer tokens, divided once by the tokens of the whole global batch, so that neither the
// grid nor the cut into micro-batches changes what is learned.
#pragma once

#include <memory>

#include "core/communicator.hpp"
#include "io/checkpoint.hpp"
#include "launch/assembly/assembly.hpp"
#include "launch/assembly/layout.hpp"
#include "launch/config/config.hpp"
#include "launch/training/run_log.hpp"
#include "launch/training/step_guard.hpp"
#include "launch/training/stop_request.hpp"
#include "launch/training/stragglers.hpp"
#include "parallel/grid.hpp"

namespace skymm {

class Checkpointer;
class Executor;
class LiveEvaluation;
class Optimizer;
struct StepData;
class StepLoader;

enum class RunEnd : std::uint8_t {
  done,
  done_unsaved,     // the weights are there, but the last checkpoint could not be written
  stopped,          // asked to (launch/training/stop_request.hpp), it saved; another run goes on
  stopped_unsaved,  // asked to, it could not save; another run goes on from an earlier checkpoint
};

class Trainer {
 public:
  Trainer(const TrainConfig& config, Communicator& world);
  ~Trainer();

  // Trains to the last step or the time limit, from the newest checkpoint where config.run.resume says so. Leaves
  // checkpoints, trained.safetensors and metrics in the run directory. Asked to stop, it leaves a checkpoint. Throws
  // Error where it was asked to, and there is no checkpoint at all to go on from.
  RunEnd run();

 private:
  void say_layout(double operations) const;  // a second, that a rank does
  RunEnd stop(std::int64_t done);
  RunEnd end();
  void say_stop(std::int64_t done) const;
  StepMetrics step(std::int64_t number);
  void update(StepMetrics& metrics, double label_tokens, const StepData& data);
  std::optional<double> validate();  // mean loss a token; none where it was asked to stop
  void evaluate(std::int64_t done);
  void start_from_checkpoint();
  CheckpointInfo checkpoint_info(std::int64_t done) const;
  std::int64_t place(std::int64_t step) const;  // of the step's first sample in the mixture
  void export_trained();
  double blocked_seconds() const;
  bool rank_0_says(bool mine);
  bool any(bool mine);

  TrainConfig config_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  Layout layout_;
  Grid grid_;
  Communicator& world_;
  Assembly assembly_;  // of this rank's pieces
  std::unique_ptr<StepLoader> loader_, validation_;
  std::unique_ptr<LiveEvaluation> evaluation_;  // null: there is none
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<Executor> executor_;
  std::unique_ptr<RunLog> log_;
  StepGuard guard_;
  StragglerWatch stragglers_;
  std::unique_ptr<Checkpointer> checkpointer_;
  std::int64_t first_step_ = 0, first_place_ = 0;
  StopRequest stop_request_;
  bool stopping_ = false;         // all ranks know that one of them was asked to
  double blocked_in_update_ = 0;  // of the last step, which its metrics came too early for
};

}  // namespace skymm
