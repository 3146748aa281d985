// How a run is spread over its ranks: the grid, the cut of the model, and the order of work.
#pragma once

#include <string>
#include <vector>

#include "launch/config.hpp"
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

// Throws Error, before anything is loaded, where the config does not fit the model or the number of ranks; it says what
// would fit.
Layout make_layout(const TrainConfig& config, const MultimodalConfig& model, int ranks);

}  // namespace skymm
