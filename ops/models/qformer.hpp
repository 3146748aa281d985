// BLIP-2's Q-Former (Li et al. 2023) as a resampler: learned queries in a BERT of `depth` layers, which look at the
// patches in every second one, then a linear map to the decoder's width.
//
//   x = norm(queries), f = ln_vision(features); in each layer, post-norm as BERT:
//   x = norm(x + attention(x, x)); even layers: x = norm(x + attention(x, f)); x = norm(x + down(gelu(up(x))))
//
// Width is heads * head_width. Tensors are named as in transformers' Blip2QFormerModel.
#pragma once

#include "ops/models/resampler.hpp"

namespace skymm {

std::unique_ptr<Resampler> make_qformer(const ResamplerConfig& config, const VisionConfig& vision,
                                        std::int64_t decoder_width, DType dtype, Device& device);

}  // namespace skymm
