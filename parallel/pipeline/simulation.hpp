// A schedule in virtual time: when does each instruction begin and end if computing and sending take so long?
#pragma once

#include <vector>

#include "parallel/pipeline/schedule.hpp"

namespace skymm {

// Durations of one micro-batch, in any unit. A piece is a chunk of a stage (PipelineShape::piece).
struct PieceCost {
  double forward = 1, backward = 1;  // backward: of input and weights together ...
  double weight = 0;                 // ... of which weight gradients take so much
  double send = 0;  // of the activation that leaves the piece, or of the gradient that comes back to it
};

struct TimedInstruction {
  Instruction instruction;
  double begin = 0, end = 0;
};

struct Timeline {
  std::vector<std::vector<TimedInstruction>> stages;
  double length = 0;             // until the last stage is done
  double busy(int stage) const;  // time it computes
  double bubble() const;         // the longest that a stage idles: length - busy, of the busiest stage
};

// Blocking receives; sends are buffered unless `rendezvous`, where a send waits for its receive. Throws Error that
// names the stages and their instructions where the schedule deadlocks, or where an instruction lacks what it depends
// on.
Timeline simulate(const Schedule& schedule, const std::vector<PieceCost>& costs, bool rendezvous = false);

}  // namespace skymm
