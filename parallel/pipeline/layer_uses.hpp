// In which order a stage of a pipeline uses the layers of the decoder, so that weights which are not there can be
// gathered ahead.
#pragma once

#include "ops/models/cut.hpp"
#include "parallel/pipeline/schedule.hpp"
#include "parallel/zero/frozen.hpp"

namespace skymm {

// For each computation of a stage's list, the blocks that are layers of the decoder: a forward runs through those of
// its chunk, a backward back through them. Weight gradients need no frozen weights, but those of the model's first
// layer: it may have no gradient of an input to compute, and then leaves what it computes again to this instruction. It
// depends on the list alone. pieces: of the stage, chunk by chunk.
LayerUses layer_uses(const MultimodalConfig& config, const std::vector<Instruction>& list,
                     const std::vector<BlockRange>& pieces);

}  // namespace skymm
