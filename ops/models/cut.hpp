// The multimodal model as a row of blocks, which a pipeline may cut between any two:
//
//   vision 0 | ... | vision v-1 | resampler | embedding | layer 0 | ... | layer n-1 | head
//
// vision 0 holds the patch embedding, vision v-1 what follows the last block; embedding takes the visual tokens into
// the text; head is the last norm, the head and the loss. A decoder alone begins with embedding. One tensor crosses a
// cut: the ViT's hidden states, its features, visual tokens, or the decoder's activations.
#pragma once

#include <string>
#include <vector>

#include "ops/models/config.hpp"

namespace skymm {

enum class BlockKind : std::uint8_t { vision, resampler, embedding, layer, head };

struct ModelBlock {
  BlockKind kind = BlockKind::layer;
  std::int64_t index = 0;  // among those of its kind
};

std::vector<ModelBlock> model_blocks(const MultimodalConfig& config);
std::string name_of(const ModelBlock& block);  // vision.0, resampler, embedding, layers.12, head

// Blocks [begin, end) of model_blocks.
struct BlockRange {
  std::int64_t begin = 0, end = 0;
  std::int64_t size() const { return end - begin; }
  bool operator==(const BlockRange&) const = default;
};
BlockRange all_blocks(const MultimodalConfig& config);

// The number of the first block of a kind (where there is none: of what follows).
std::int64_t first_block(const MultimodalConfig& config, BlockKind kind);

// Those of a kind among `blocks`, by their index in that kind: {3, 6} for layers 3, 4 and 5.
BlockRange indices_of(const MultimodalConfig& config, BlockKind kind, BlockRange blocks);

// What every stage knows of a micro-batch before anything of it arrives. Without labels there is nothing to compute: no
// block runs, nothing crosses.
struct BatchSizes {
  std::int64_t tokens = 0, images = 0, labels = 0;
};

// Of the tensor that enters `block` (0 < block < all): [rows, width]; no rows where nothing crosses there, as in front
// of the embedding of a micro-batch without pictures.
Shape boundary_shape(const MultimodalConfig& config, std::int64_t block, const BatchSizes& sizes);

// Whether a gradient crosses the cut in front of `block`: something before it trains, and this micro-batch reached it.
bool gradient_crosses(const MultimodalConfig& config, std::int64_t block, const BatchSizes& sizes);

}  // namespace skymm
