// Carries out a schedule: what one stage of a pipeline does in a step, instruction by instruction.
//
//   Executor executor(model, pieces, grid.pipeline(), optimizer);
//   const std::vector<Batch> batches = share_batches(grid.pipeline(), loaded);  // batches.hpp
//   const double loss = executor.run(schedule, batches);   // then optimizer.step()
//
// Every stage knows the sizes of every micro-batch before the pass begins, and so the shape of each message, or that
// there is none: visual tokens of a micro-batch without pictures, and gradients that nothing trained waits for, are
// neither computed nor sent. A micro-batch without labels is passed over by all stages.
//
// A receive is posted while the work before it is computed, and a send is not waited for: between blocks forward, and
// between functions backward, the executor lets messages move. So do ZeRO's sums of gradients: a bucket leaves as soon
// as backward has completed what is in it; and so do frozen weights that data-parallel ranks share out, a layer ahead.
// Layers of a micro-batch that is passed over are gathered all the same: other ranks need them. A micro-batch has a
// graph for each chunk that it is alive in; activations go as backward is done with them. A micro-batch comes to the
// model's device as its forward begins, and its pictures go once the first block has read them: so they take the memory
// of one micro-batch, however many there are.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "core/communicator.hpp"
#include "ops/models/multimodal.hpp"
#include "parallel/pipeline/schedule.hpp"
#include "parallel/zero/frozen.hpp"
#include "parallel/zero/optimizer.hpp"

namespace skymm {

struct ExecutorOptions {
  // false: each send is waited for before anything else is done, and gradients leave after backward, to measure what
  // overlap gains. ZeroOptions has the like for what is begun.
  bool overlap = true;
  // Gathers the frozen weights of layers before they compute, and gives them up after; null: all are there.
  FrozenShards* frozen = nullptr;
};

// Fills in what a micro-batch begins with, pixels or features, when its forward does; asked on the first stage alone,
// once for each micro-batch that has pictures and labels.
using Pictures = std::function<void(std::size_t micro_batch, Batch& batch)>;

class Executor {
 public:
  // pieces: of the whole model, in order; those of this stage (PipelineShape::piece) are the model's.
  Executor(Multimodal& model, std::vector<BlockRange> pieces, Communicator& pipeline, Optimizer& optimizer,
           const ExecutorOptions& options = {});

  // One pass over `batches`, by this stage's list of the schedule. Gradients add up in the parameters (or go to their
  // owners, where the list has ZeRO's instructions); a list without backwards keeps no activations. The sum of the
  // losses on the stage that holds the head, 0 on the others. `batches` may be in host memory, and without pictures
  // where `pictures` bring them. Collective over the pipeline.
  double run(const Schedule& schedule, std::vector<Batch> batches, const Pictures& pictures = {});

  // The loss of each micro-batch of the last run, where run() gave their sum; 0 of those without labels.
  const std::vector<double>& losses() const { return losses_; }

 private:
  class Pass;

  Multimodal& model_;
  std::vector<BlockRange> pieces_;
  Communicator& pipeline_;
  Optimizer& optimizer_;
  ExecutorOptions options_;
  std::vector<double> losses_;
};

}  // namespace skymm
