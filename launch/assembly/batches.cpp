#include "launch/assembly/batches.hpp"

namespace skymm {
namespace {

Tensor indices(const std::vector<std::int32_t>& values) {
  return Tensor::from(values, {static_cast<std::int64_t>(values.size())});
}

}  // namespace

Tensor to_pixels(const std::vector<float>& pixels, int size, DType dtype) {
  if (pixels.empty()) return {};  // then there may be no size either: a model of text alone
  const std::int64_t per_image = std::int64_t{3} * size * size;
  const auto images = static_cast<std::int64_t>(pixels.size()) / per_image;
  return Tensor::from(pixels, {images, 3, size, size}).to(dtype);
}

Batch to_batch(const MicroBatch& host, int image_size, DType dtype, std::uint64_t seed, std::int64_t step,
               bool training) {
  Batch batch;
  batch.tokens = indices(host.tokens);
  batch.positions = indices(host.positions);
  batch.sequence_offsets = indices(host.sequence_offsets);
  batch.max_length = host.max_length;
  batch.label_rows = indices(host.label_rows);
  batch.label_ids = indices(host.label_ids);
  batch.visual_rows = indices(host.visual_rows);
  batch.pixels = to_pixels(host.pixels, image_size, dtype);
  batch.row_ids = Tensor::from(host.row_ids, {static_cast<std::int64_t>(host.tokens.size()), 2});
  batch.random = {seed, static_cast<std::uint32_t>(step), 0};
  batch.training = training;
  return batch;
}

}  // namespace skymm
