// What layers need to know of a micro-batch besides the activations.
#pragma once

#include "core/random.hpp"
#include "ops/layers/key_value_cache.hpp"

namespace skymm {

struct Context {
  AttentionShape attention;              // who sees whom in self-attention; its scale is set by the layer
  Tensor positions;                      // i32 [T], for rotary embeddings
  Tensor row_ids;                        // i32 [T, 2], for dropout: sample in the global batch, token in the sample
  RandomKey random;                      // seed and step
  bool training = false;                 // dropout is on
  const KeyValueCache* cache = nullptr;  // of the tokens before these, for inference; then `attention` is the cache's
  std::int64_t layer = 0;                // of the cache
};

// i32 [count + 1]: 0, length, 2 length, ...
Tensor uniform_offsets(std::int64_t count, std::int64_t length, Device& device);

}  // namespace skymm
