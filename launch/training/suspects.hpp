// Which samples a step was skipped for.
#pragma once

#include <string>
#include <vector>

#include "launch/training/step_loader.hpp"
#include "parallel/grid.hpp"

namespace skymm {

struct SkippedStep {
  std::int64_t step = 0;
  std::string reason;
  double loss = 0, gradient_norm = 0;
  bool without_answers = false;  // in the whole global batch
};

// Adds the step to skipped_steps.jsonl of the run directory: its micro-batches, those whose loss is not finite first
// and then by the mean loss of their answers, with their samples' ids (without answers: of those left out too). The ids
// of the first ones come back on every rank, for a message. losses: of this pipeline's micro-batches, on its last
// stage. Collective.
std::string record_skipped_step(const Grid& grid, const std::string& run_dir, const SkippedStep& skipped,
                                const std::vector<BatchSamples>& samples, const std::vector<double>& losses);

}  // namespace skymm
