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
  double begin = 0, end = 0;  // begin: when the stage comes to it; a receive waits until `end`
};

struct Timeline {
  std::vector<std::vector<TimedInstruction>> stages;
  double length = 0;             // until the last stage is done
  double busy(int stage) const;  // time it computes
  double bubble() const;         // time that the stage with the most work idles: length less that work
};

// costs: one a piece, in the order of the model. Receives block. Sends are buffered: the stage goes on, the message
// arrives `send` later, and messages do not slow each other down; with `rendezvous` both ends wait for each other and
// then for the message. ZeRO's collectives take no time.
//
// Throws Error that names stages and instructions where the schedule deadlocks, where an instruction comes twice or
// lacks what it depends on, and where a message is sent that nobody receives.
Timeline simulate(const Schedule& schedule, const std::vector<PieceCost>& costs, bool rendezvous = false);

}  // namespace skymm
