// Going on from a checkpoint, on whatever grid.
#pragma once

#include <optional>
#include <set>
#include <string>

#include "core/communicator.hpp"
#include "io/checkpoint.hpp"
#include "launch/config/config.hpp"
#include "parallel/zero/optimizer.hpp"

namespace skymm {

struct Resumption {
  std::string path;
  CheckpointInfo info;
};

// What resume() did: from where the run goes on, if from anywhere, and the checkpoints that it passed over.
struct Resumed {
  std::optional<Resumption> from;
  std::set<std::string> damaged;  // known to rank 0
};

// Restores the optimizer as config.run.resume says. Each rank reads the elements that it holds. With auto, a checkpoint
// that any rank cannot read whole is passed over by all, with a warning that says why, and the next older one is taken.
// What changed in the config is logged. Throws Error on every rank, with the differences, where the checkpoint belongs
// to another model, and where the one that config.run.resume names cannot be read. Collective.
Resumed resume(const TrainConfig& config, const std::map<std::string, std::uint64_t>& frozen, Optimizer& optimizer,
               Communicator& world);

}  // namespace skymm
