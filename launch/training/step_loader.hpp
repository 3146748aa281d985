// A step's micro-batches on every rank of a pipeline. The first stage loads them; the others learn their sizes, tokens
// and labels from it, and never touch the data set.
#pragma once

#include <memory>
#include <vector>

#include "io/loader.hpp"
#include "launch/assembly/assembly.hpp"
#include "ops/models/batch.hpp"
#include "parallel/grid.hpp"
#include "parallel/pipeline/executor.hpp"

namespace skymm {

// What a micro-batch is made of.
struct BatchSamples {
  std::vector<std::string> ids, holes;  // holes: of those that are left out
  std::int64_t label_tokens = 0;
};

struct StepData {
  std::vector<Batch> batches;         // in host memory, without pictures
  Pictures pictures;                  // on the first stage: makes a micro-batch's tensor of them, once
  std::vector<BatchSamples> samples;  // of each, on the first stage
  // Of this pipeline's samples, known on its first stage; zero on the others, so that sums over all ranks are right.
  BatchCounts counts;
  std::int64_t bad_samples = 0, cut = 0;  // since the start; cut: turns and ends of texts, by the length limit
  double gflop = 0;                       // of useful work
  double waited_seconds = 0;              // for data
};

class StepLoader {
 public:
  // Of config.data.train, or else of config.data.validation: one pass in order, without dropout. Collective over the
  // pipeline.
  StepLoader(const TrainConfig& config, const Assembly& assembly, const Grid& grid, bool training);

  // Collective over the pipeline, in order from the step that seek() set (0 at first).
  StepData next();
  void seek(std::int64_t step, std::int64_t place);  // place: of its first sample in the mixture
  std::int64_t steps_per_pass() const { return steps_per_pass_; }
  const Mixture* mixture() const { return mixture_.get(); }  // null where the rank is not on the first stage

 private:
  const TrainConfig& config_;
  const Multimodal& model_;
  Communicator& pipeline_;
  bool training_;
  std::shared_ptr<const Mixture> mixture_;  // on the first stage, as
  std::unique_ptr<Loader> loader_;
  std::int64_t steps_per_pass_ = 0;
};

}  // namespace skymm
