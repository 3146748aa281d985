// From the patches of a ViT to the visual tokens of a decoder.
#pragma once

#include <memory>

#include "core/graph.hpp"
#include "ops/models/config.hpp"

namespace skymm {

class Resampler : public Module {
 public:
  // features [images * patches, vision width] -> [images * tokens, decoder width]
  virtual Variable forward(const Variable& features, std::int64_t images) = 0;
};

// qwen: learned queries attend once to the patches, with two-dimensional positions P added to queries and keys (Bai et
//   al. 2023): ln_post(attention(ln_q(query) + P, x + resized P, x)) proj, x = ln_kv(kv_proj(features)).
// perceiver: latents attend to [patches; latents] in layers, each with a feed-forward (Alayrac et al. 2022), then a
//   projection to the decoder's width.
// qformer: BLIP-2's (ops/models/qformer.hpp).
// linear, mlp: LLaVA's projectors (Liu et al. 2023), patch by patch.
std::unique_ptr<Resampler> make_resampler(const ResamplerConfig& config, const VisionConfig& vision,
                                          std::int64_t decoder_width, DType dtype, Device& device);

}  // namespace skymm
