// How a run is spread over its ranks: the grid, the cut of the model, and the order of work.
#pragma once

#include <string>
#include <vector>

#include "launch/config/config.hpp"
#include "ops/models/cost.hpp"
#include "ops/models/cut.hpp"
#include "parallel/grid.hpp"
#include "parallel/pipeline/schedule.hpp"

namespace skymm {

struct Layout {
  GridShape grid;
  GridOrder order = GridOrder::pipeline_inside;
  std::vector<BlockRange> pieces;  // of the whole model, in order
  Schedule training, validation;   // of a global batch; validation runs forward alone
  std::string table;               // of the cut, for people
};

// Of a step, on each of `data` data-parallel ranks: as many on all. Throws Error where there are ranks without a
// sample, and where micro-batches would have fewer samples than others, unless config.parallel.uneven lets them.
int micro_batches_of(const TrainConfig& config, int data);

// What each stage of the pipeline computes of a step with these counts: forward, recomputation and backward of all its
// pieces, in floating-point operations.
std::vector<double> stage_work(const TrainConfig& config, const MultimodalConfig& model,
                               const std::vector<BlockRange>& pieces, const StepCounts& counts);

// Throws Error, before anything is loaded, where the config does not fit the model or the number of ranks; it says what
// would fit.
Layout make_layout(const TrainConfig& config, const MultimodalConfig& model, int ranks);

}  // namespace skymm
