// From host micro-batches to the tensors that a model takes; on the CPU, for Batch::to to bring to the model's device.
#pragma once

#include "io/batch.hpp"
#include "io/pixels.hpp"
#include "ops/models/batch.hpp"

namespace skymm {

// Pixels [images, 3, size, size] in `dtype`; undefined without pictures.
Tensor to_pixels(const std::vector<float>& pixels, int size, DType dtype);

// `step` and `seed` key the random numbers (dropout) of the step.
Batch to_batch(const MicroBatch& host, int image_size, DType dtype, std::uint64_t seed, std::int64_t step,
               bool training);

}  // namespace skymm
