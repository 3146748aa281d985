// A ViT as CLIP's vision tower: patches, class token and position embedding, pre-norm blocks; the chosen hidden state
// without the class token comes out. Names as in Hugging Face's CLIPVisionModel below its "vision_model".
#pragma once

#include <memory>
#include <vector>

#include "ops/layers/blocks.hpp"
#include "ops/models/config.hpp"

namespace skymm {

class VisionTransformer final : public Module {
 public:
  VisionTransformer(const VisionConfig& config, DType dtype, Device& device);

  // pixels [images, 3, H, W], normalised, in compute dtype -> [images * patches, width]. Leaves nodes only where
  // something trains; a frozen ViT runs in one residual tensor.
  Variable forward(Graph& graph, const Tensor& pixels);

  const VisionConfig& config() const { return config_; }
  void visit(const std::string& prefix, const ParameterVisitor& visitor) override;
  void freeze(Packing packing);

 private:
  Variable embed(Graph& graph, const Tensor& pixels, const Context& context);

  VisionConfig config_;
  Parameter class_embedding_, position_embedding_;
  Linear patch_embedding_;
  std::unique_ptr<LayerNorm> pre_norm_;
  std::vector<std::unique_ptr<VisionBlock>> blocks_;  // those that run
};

}  // namespace skymm
