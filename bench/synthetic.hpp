// Micro-batches of random tokens and pictures, for measurements that need no data set.
#pragma once

#include "ops/models/batch.hpp"
#include "ops/models/config.hpp"

namespace skymm::bench {

struct BatchShape {
  std::int64_t samples = 1;
  std::int64_t text = 64;    // tokens of a sample behind its picture's; the model's resampler says how many those are
  std::int64_t labels = 64;  // tokens of it that are learned: the last ones
};

// The same for the same seed. Each sample has a picture where the model has a vision part.
Batch synthetic_batch(const MultimodalConfig& config, const BatchShape& shape, DType dtype, std::uint64_t seed);

}  // namespace skymm::bench
