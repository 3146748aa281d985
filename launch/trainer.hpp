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
#include "launch/assembly.hpp"
#include "launch/config.hpp"
#include "launch/layout.hpp"
#include "launch/run_log.hpp"
#include "launch/stop_request.hpp"
#include "parallel/grid.hpp"

namespace skymm {

class Executor;
class Optimizer;
class StepLoader;

enum class RunEnd { done, stopped };  // stopped: asked to (launch/stop_request.hpp), it saved; another run goes on

class Trainer {
 public:
  Trainer(const TrainConfig& config, Communicator& world);
  ~Trainer();

  // Trains to the last step or the time limit, from the newest checkpoint where config.run.resume says so. Leaves
  // checkpoints, trained.safetensors and metrics in the run directory. Asked to stop, it leaves a checkpoint.
  RunEnd run();

 private:
  void say_layout() const;
  void say_stop(std::int64_t done) const;
  StepMetrics step(std::int64_t number);
  std::optional<double> validate();  // mean loss a token; none where it was asked to stop
  void resume();
  void checkpoint(std::int64_t done);
  void export_trained();
  double blocked_seconds() const;
  bool agree(bool mine);
  bool any(bool mine);

  TrainConfig config_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  Layout layout_;
  Grid grid_;
  Communicator& world_;
  Assembly assembly_;  // of this rank's pieces
  std::unique_ptr<StepLoader> loader_, validation_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<Executor> executor_;
  std::unique_ptr<RunLog> log_;
  std::int64_t first_step_ = 0;
  StopRequest stop_request_;
  bool stopping_ = false;         // all ranks know that one of them was asked to
  double blocked_in_update_ = 0;  // of the last step, which its metrics came too early for
};

}  // namespace skymm
