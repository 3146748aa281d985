// Pre-training of the vision model (the LVM) on bilingual pictures: a ViT and a small text tower share one space.
//
// Two losses (both sums, weighted so that each is a mean over the global batch):
//   contrastive  picture <-> caption, both ways, in each language (Radford et al. 2021)
//   names        every patch <-> the name of what it shows, a softmax over all names, in each language
// The second teaches the patches where things are, which the first does not.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/graph.hpp"
#include "ops/layers/linear.hpp"
#include "ops/models/vision.hpp"

namespace skymm {

struct LvmConfig {
  VisionConfig vision;
  std::int64_t vocab = 0;
  std::int64_t text_width = 192;
  std::int64_t embedding = 128;  // of the shared space
  float scale = 16.0F;           // of cosine similarities before a softmax
};

// Texts as token ids, one after the other.
struct TextBatch {
  std::vector<std::int32_t> tokens;
  std::vector<std::int32_t> offsets{0};  // text i is tokens [offsets[i], offsets[i+1])

  std::int64_t size() const { return static_cast<std::int64_t>(offsets.size()) - 1; }
  void add(std::span<const std::int32_t> text) {
    tokens.insert(tokens.end(), text.begin(), text.end());
    offsets.push_back(static_cast<std::int32_t>(tokens.size()));
  }
};

class Lvm : public Module {
 public:
  Lvm(const LvmConfig& config, DType dtype, std::uint64_t seed);

  void visit(const std::string& prefix, const ParameterVisitor& visitor) override;
  VisionTransformer& vision() { return *vision_; }
  const LvmConfig& config() const { return config_; }

  // pixels [B, 3, H, W] -> patch features [B * patches, width] of the layer that later models read.
  Variable patches(Graph& graph, const Tensor& pixels);
  Variable image_embedding(const Variable& patches);  // -> [B, E], unit rows: of the mean over a picture's patches
  Variable patch_embedding(const Variable& patches);  // -> [B * patches, E], unit rows
  // -> [texts, E], unit rows: the mean of token embeddings, then a two-layer MLP.
  Variable text_embedding(Graph& graph, const TextBatch& texts);

 private:
  LvmConfig config_;
  DType dtype_;
  std::unique_ptr<VisionTransformer> vision_;
  Parameter token_table_;  // [vocab, text width]
  Linear text_up_, text_down_, image_projection_, patch_projection_;
};

// weight * (cross entropy of row i against column i, both ways) of scale * a b^T; a, b [B, E].
Variable contrastive_loss(const Variable& a, const Variable& b, float scale, float weight);
// weight * cross entropy of scale * patches names^T with labels i32 [patches], -1: none.
Variable name_loss(const Variable& patches, const Variable& names, const Tensor& labels, float scale, float weight);

}  // namespace skymm
