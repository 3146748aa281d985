#include "bench/synthetic.hpp"

#include <vector>

#include "core/error.hpp"

namespace skymm::bench {

Batch synthetic_batch(const MultimodalConfig& config, const BatchShape& shape, DType dtype, std::uint64_t seed) {
  const std::int64_t visual_tokens = config.vision ? config.resampler.tokens(*config.vision) : 0;
  const std::int64_t length = visual_tokens + shape.text;
  check(shape.labels > 0 && shape.labels < length && shape.labels <= shape.text,
        "{} labels in a sample of {} tokens of text do not fit", shape.labels, shape.text);
  std::vector<std::int32_t> tokens, positions, offsets{0}, rows, ids, visual, row_ids;
  RandomStream random(seed);
  for (std::int64_t s = 0; s < shape.samples; ++s) {
    for (std::int64_t t = 0; t < length; ++t) {
      const auto row = static_cast<std::int32_t>(tokens.size());
      tokens.push_back(static_cast<std::int32_t>(random.below(static_cast<std::uint32_t>(config.decoder.vocabulary))));
      positions.push_back(static_cast<std::int32_t>(t));
      row_ids.insert(row_ids.end(), {static_cast<std::int32_t>(s), static_cast<std::int32_t>(t)});
      if (t < visual_tokens) visual.push_back(row);
      if (t + 1 >= length - shape.labels && t + 1 < length) rows.push_back(row);
    }
    offsets.push_back(static_cast<std::int32_t>(tokens.size()));
  }
  for (const std::int32_t row : rows) ids.push_back(tokens[static_cast<std::size_t>(row) + 1]);
  const auto tensor = [](const std::vector<std::int32_t>& values) {
    return Tensor::from(values, {static_cast<std::int64_t>(values.size())});
  };
  Batch batch{.tokens = tensor(tokens),
              .positions = tensor(positions),
              .sequence_offsets = tensor(offsets),
              .max_length = length,
              .label_rows = tensor(rows),
              .label_ids = tensor(ids),
              .row_ids = Tensor::from(row_ids, {static_cast<std::int64_t>(tokens.size()), 2}),
              .training = true};
  if (config.vision) {
    const std::int64_t side = config.vision->image;
    std::vector<float> pixels(static_cast<std::size_t>(shape.samples * 3 * side * side));
    for (float& pixel : pixels) pixel = random.normal();
    batch.visual_rows = tensor(visual);
    batch.pixels = Tensor::from(pixels, {shape.samples, 3, side, side}).to(dtype);
  }
  return batch;
}

}  // namespace skymm::bench
