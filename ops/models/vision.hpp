// A ViT as CLIP's vision tower: patches, class token and position embedding, pre-norm blocks; the chosen hidden state
// without the class token comes out. Names as in Hugging Face's CLIPVisionModel below its "vision_model".
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "ops/layers/blocks.hpp"
#include "ops/models/cut.hpp"

namespace skymm {

// What comes before the blocks: pixels [images, 3, H, W] -> [images * tokens, width].
class VisionEmbeddings final : public Module {
 public:
  VisionEmbeddings(const VisionConfig& config, DType dtype, Device& device);

  Variable forward(const Variable& pixels);
  void visit(const std::string& prefix, const ParameterVisitor& visitor) override;
  void quantize(const Quantization& how) { patch_embedding_.quantize(how); }
  void freeze(Packing packing) { patch_embedding_.freeze(packing); }

 private:
  VisionConfig config_;
  Parameter class_embedding_, position_embedding_;
  Linear patch_embedding_;
  std::unique_ptr<LayerNorm> pre_norm_;
};

class VisionTransformer final : public Module {
 public:
  // Holds the blocks in `held` alone (all unless given); block 0 comes with the embeddings. quantization: of the linear
  // weights, where they are frozen.
  VisionTransformer(const VisionConfig& config, DType dtype, Device& device);
  VisionTransformer(const VisionConfig& config, DType dtype, Device& device, const std::vector<BlockRange>& held,
                    const std::optional<Quantization>& quantization = {});

  // pixels [images, 3, H, W], normalised, in compute dtype -> [images * patches, width]. Leaves nodes only where
  // something trains; a frozen ViT runs in one residual tensor.
  Variable forward(Graph& graph, const Tensor& pixels) { return run(blocks(), graph.constant(pixels)); }
  // The same in pieces. What goes into block 0 are the pixels; what goes from block to block, the hidden states
  // [images * tokens, width], which a frozen ViT may consume.
  Variable run(BlockRange blocks, const Variable& input);
  BlockRange blocks() const { return {0, std::max<std::int64_t>(1, config_.blocks())}; }

  const VisionConfig& config() const { return config_; }
  void visit(const std::string& prefix, const ParameterVisitor& visitor) override;
  void freeze(BlockRange blocks, Packing packing);

 private:
  VisionConfig config_;
  std::unique_ptr<VisionEmbeddings> embeddings_;      // with block 0
  std::vector<std::unique_ptr<VisionBlock>> blocks_;  // those that run for the output; null where not held
};

}  // namespace skymm
