#include "parallel/pipeline/layer_uses.hpp"

#include <algorithm>

namespace skymm {

LayerUses layer_uses(const MultimodalConfig& config, const std::vector<Instruction>& list,
                     const std::vector<BlockRange>& pieces) {
  const std::int64_t first = first_block(config, BlockKind::layer);
  LayerUses uses;
  for (const Instruction& instruction : list) {
    if (!computes(instruction.kind)) continue;
    const BlockRange layers =
        indices_of(config, BlockKind::layer, pieces.at(static_cast<std::size_t>(instruction.chunk)));
    std::vector<std::int64_t> used;
    for (std::int64_t layer = layers.begin; layer < layers.end; ++layer) used.push_back(first + layer);
    if (instruction.kind == Instruction::Kind::backward) std::ranges::reverse(used);
    if (instruction.kind == Instruction::Kind::weight_gradient) {
      std::erase_if(used, [&](std::int64_t block) { return block != first; });
    }
    uses.push_back(std::move(used));
  }
  return uses;
}

}  // namespace skymm
