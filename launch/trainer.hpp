// The training loop. One Trainer a rank; all ranks of `world` run the same steps on their shares of each global batch.
//
//   step:  micro-batches -> forward, backward (gradients add up) -> sum over ranks -> clip -> AdamW
//
// The loss is a sum over answer tokens, divided once by the tokens of the whole global batch, so that neither the
// number of ranks nor the cut into micro-batches changes what is learned.
#pragma once

#include <memory>
#include <string>

#include "core/communicator.hpp"
#include "launch/assembly.hpp"
#include "launch/config.hpp"

namespace skymm {

class Loader;
class Optimizer;
class RunLog;
struct MicroBatch;

class Trainer {
 public:
  Trainer(const TrainConfig& config, Communicator& world);
  ~Trainer();

  // Trains to the end of the schedule (or the time limit), from the newest checkpoint if config.run.resume says so.
  // Leaves checkpoints, metrics.jsonl, TensorBoard events and report.html in the run directory.
  void run();

 private:
  struct StepResult {
    double loss = 0;  // mean over the answer tokens of the global batch
    double tokens = 0, images = 0, answers = 0;
    double gradient_norm = 0;
    bool skipped = false;
    int bad_samples = 0;
  };

  StepResult step(std::int64_t number);
  double validate(std::int64_t number);  // mean loss a token
  void resume();
  void checkpoint(std::int64_t number);
  float learning_rate(std::int64_t number) const;

  TrainConfig config_;
  Communicator& world_;
  Assembly assembly_;
  std::unique_ptr<Loader> loader_, validation_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<RunLog> log_;
  std::int64_t first_step_ = 0;
};

}  // namespace skymm
