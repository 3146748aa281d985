// The training loop. One Trainer a rank; all ranks of `world` run the same steps on their shares of each global batch.
//
//   step:  micro-batches -> forward, backward (gradients add up) -> sum over ranks -> clip -> AdamW
//
// The loss is a sum over answer tokens, divided once by the tokens of the whole global batch, so that neither the
// number of ranks nor the cut into micro-batches changes what is learned.
#pragma once

#include <memory>

#include "core/communicator.hpp"
#include "launch/assembly.hpp"
#include "launch/config.hpp"
#include "launch/run_log.hpp"

namespace skymm {

class Loader;
class Optimizer;

class Trainer {
 public:
  Trainer(const TrainConfig& config, Communicator& world);
  ~Trainer();

  // Trains to the last step or the time limit, from the newest checkpoint where config.run.resume says so. Leaves
  // checkpoints, trained.safetensors and metrics in the run directory.
  void run();

 private:
  StepMetrics step(std::int64_t number);
  double validate();  // mean loss a token
  void resume();
  void checkpoint(std::int64_t done);
  void export_trained();
  bool agree(bool mine);

  TrainConfig config_;
  Communicator& world_;
  Assembly assembly_;
  std::unique_ptr<Loader> loader_, validation_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<RunLog> log_;
  std::int64_t first_step_ = 0;
};

}  // namespace skymm
