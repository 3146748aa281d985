// How a run is spread over its ranks: the grid, the cut of the model, and the order of work.
#pragma once

#include <vector>

#include "launch/config/config.hpp"
#include "ops/models/cost.hpp"
#include "ops/models/cut.hpp"
#include "parallel/grid.hpp"
#include "parallel/pipeline/plan.hpp"
#include "parallel/pipeline/schedule.hpp"

namespace skymm {

struct Layout {
  GridShape grid;
  GridOrder order = GridOrder::pipeline_inside;
  std::vector<BlockRange> pieces;               // of the whole model, in order
  Schedule training, validation;                // of a global batch; validation runs forward alone
  StageCosts costs = std::vector<BlockCost>();  // that it was cut by
};

// Of a step, on each of `data` data-parallel ranks: as many on all. Throws Error where there are ranks without a
// sample, and where micro-batches would have fewer samples than others, unless config.parallel.uneven lets them.
int micro_batches_of(const TrainConfig& config, int data);

// What each stage of the pipeline computes of a step with these counts: forward, recomputation and backward of all its
// pieces, in floating-point operations.
std::vector<double> stage_work(const TrainConfig& config, const MultimodalConfig& model,
                               const std::vector<BlockRange>& pieces, const StepCounts& counts);

// What runs and skymm plan compute with alike. A micro-batch is taken for a picture a sample, all as long as they may
// be, and half of the text answers, before anybody knows how long samples are. form: of the device. ranks_per_node: of
// consecutive ranks, which share frozen weights where the config lets them.
PlanInput plan_input(const TrainConfig& config, const MultimodalConfig& model, const ComputeForm& form, int ranks,
                     int ranks_per_node);

// Throws Error, before anything is loaded, where the config does not fit the model, the number of ranks, or
// parallel.memory; it says what would fit.
Layout make_layout(const TrainConfig& config, const MultimodalConfig& model, int ranks, int ranks_per_node = 1);

}  // namespace skymm
