// A micro-batch: sequences of tokens one after the other (packed, no padding), and the images that belong to them.
#pragma once

#include "core/random.hpp"
#include "core/tensor.hpp"
#include "ops/layers/context.hpp"

namespace skymm {

struct Batch {
  Tensor tokens;                // i32 [T]; at visual rows any id, or -1
  Tensor positions;             // i32 [T], from 0 in each sequence
  Tensor sequence_offsets;      // i32 [S + 1]
  std::int64_t max_length = 0;  // of the longest sequence
  Tensor label_rows;            // i32 [L], distinct: rows whose output predicts
  Tensor label_ids;             // i32 [L]: the token that label_rows[i] should predict
  Tensor visual_rows;           // i32 [V], distinct: rows that the visual tokens take, image by image; or undefined
  Tensor pixels;                // [images, 3, H, W] in compute dtype; undefined when no sample has an image, or where
                                // no block of the ViT is
  Tensor features;              // in place of pixels: what Multimodal::features made of them, [images * patches, width]
  Tensor row_ids;               // i32 [T, 2] for dropout: sample in the global batch, token in the sample
  RandomKey random;             // seed and step
  bool training = false;        // dropout is on
  const KeyValueCache* cache = nullptr;  // for inference: these tokens follow those in the cache, which was extended
                                         // for them; positions and sequence_offsets are the cache's then

  bool has_image() const { return visual_rows.defined() && visual_rows.dim(0) > 0; }

  // The same on `device`.
  Batch to(Device& device) const {
    Batch there = *this;
    for (Tensor* x : {&there.tokens, &there.positions, &there.sequence_offsets, &there.label_rows, &there.label_ids,
                      &there.visual_rows, &there.pixels, &there.features, &there.row_ids}) {
      if (x->defined()) *x = x->to(device);
    }
    return there;
  }

  // Of the decoder's layers.
  Context context() const {
    Context context;
    context.attention = {.query_offsets = sequence_offsets,
                         .key_offsets = sequence_offsets,
                         .max_queries = max_length,
                         .max_keys = max_length,
                         .causal = true};
    if (cache != nullptr) context.attention = cache->attention();
    context.cache = cache;
    context.positions = positions;
    context.row_ids = row_ids;
    context.random = random;
    context.training = training;
    return context;
  }
};

}  // namespace skymm
