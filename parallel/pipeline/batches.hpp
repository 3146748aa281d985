// The micro-batches of a step, from the stage that loads them to the whole pipeline.
#pragma once

#include <vector>

#include "core/communicator.hpp"
#include "ops/models/batch.hpp"

namespace skymm {

// What the first stage loaded, on every stage: so each knows the shapes of all that will come. Pixels stay where they
// are, for only the first piece of a model begins with them. `batches` of the other stages are not looked at.
// Collective.
std::vector<Batch> share_batches(Communicator& pipeline, std::vector<Batch> batches);

}  // namespace skymm
