// Training of the vision part: a ViT and a small text tower that share a space. An image is drawn to its caption
// (contrastive, as CLIP: Radford et al. 2021), and each patch to the name of what is on it, in every language.
// Contrast alone does not localise at nano size; names for patches do.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/models/vision.hpp"

namespace skymm {

struct LvmConfig {
  VisionConfig vision;
  std::int64_t vocabulary = 8192;
  std::int64_t text_width = 128;  // of token embeddings and the MLP
  std::int64_t embedding = 128;   // of the common space
  float scale = 20.0F;            // of the cosines, before the softmax
};

// Texts as bags of tokens, one after the other.
struct TextBatch {
  Tensor tokens;  // i32 [T]
  Tensor means;   // [S, T] in compute dtype: row s has 1 / length at the tokens of text s
  std::int64_t size() const { return means.dim(0); }
};
TextBatch make_text_batch(const std::vector<std::vector<std::int32_t>>& texts, DType dtype, Device& device);

class Lvm final : public Module {
 public:
  Lvm(const LvmConfig& config, DType dtype, Device& device);

  // All embeddings have length one: [rows, embedding].
  Variable features(Graph& graph, const Tensor& pixels);          // [images * patches, width]
  Variable patch_embedding(const Variable& features);             // [images * patches, embedding]
  Variable image_embedding(const Variable& features);             // [images, embedding]: of the mean patch
  Variable text_embedding(Graph& graph, const TextBatch& texts);  // [S, embedding]

  const LvmConfig& config() const { return config_; }
  // vision_model... as in Multimodal, so that the ViT's weights can be taken over by name; text_model..., and the
  // projections.
  void visit(const std::string& prefix, const ParameterVisitor& visitor) override;

 private:
  LvmConfig config_;
  VisionTransformer vision_;
  LayerNorm vision_norm_;
  Linear image_projection_, patch_projection_;
  Parameter token_embedding_;
  Linear fc1_, fc2_;
};

// The other ranks' part of the contrast: embeddings of the whole batch, of which the rows from `first` on are one's own
// (their values there do not matter). Undefined tensors: there are no others.
struct Gathered {
  Tensor images, texts;  // [batch, embedding]
  std::int64_t first = 0;
};

// Symmetric contrastive loss of the whole batch, summed over both directions and halved: every rank computes the same
// sum and gets the gradient of its own rows, so that parameters' gradients add up over ranks to those of one rank.
Variable contrastive_loss(const Variable& images, const Variable& texts, float scale, const Gathered& gathered = {});

// The sum over patches of the cross entropy of a softmax over the names' embeddings. names i32 [patches]: row of
// `texts`, -1 where a patch does not count.
Variable patch_name_loss(const Variable& patches, const Variable& texts, const Tensor& names, float scale);

}  // namespace skymm
