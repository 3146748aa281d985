#include "io/pixels.hpp"

#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "core/random.hpp"
#include "io/image.hpp"
#include "io/image_resize.hpp"

namespace skymm {
namespace {

constexpr std::uint32_t for_augmentation = 0x41554700;  // Philox counter word; the picture's number is added
constexpr int max_shift = 4;
constexpr float brightness = 0.05F, contrast = 0.1F;

Image crop_to(const Image& image, int size) {
  const std::int64_t shorter = std::min(image.width, image.height);
  const auto scaled = [&](int side) { return static_cast<int>(std::int64_t{size} * side / shorter); };  // rounded down
  const int width = scaled(image.width), height = scaled(image.height);
  return resize_bicubic_window(image, width, height, {(width - size) / 2, (height - size) / 2, size, size});
}

Image pad_to(const Image& image, const ImageSpec& spec) {
  const int side = std::max(image.width, image.height);
  check(std::int64_t{side} * side <= max_image_pixels, "a picture of {} x {} is too large as a square", image.width,
        image.height);
  std::array<std::uint8_t, 3> colour{};
  for (std::size_t c = 0; c < 3; ++c) colour[c] = static_cast<std::uint8_t>(spec.mean[c] * 255.0F);
  Image square(side, side, colour);
  const int x0 = (side - image.width) / 2, y0 = (side - image.height) / 2;
  for (int y = 0; y < image.height; ++y) std::copy_n(image.at(0, y), image.width * 3, square.at(x0, y0 + y));
  return resize_bicubic(square, spec.size, spec.size);
}

}  // namespace

Fit parse_fit(std::string_view name) {
  if (name == "crop") return Fit::crop;
  if (name == "pad") return Fit::pad;
  if (name == "stretch") return Fit::stretch;
  fail("'{}' is no way to fit pictures; use crop, pad or stretch", name);
}

std::vector<float> load_pixels(std::string_view bytes, const ImageSpec& spec) {
  Image image = decode_image_reduced(bytes, spec.fast_jpeg ? spec.size : 0);
  if (image.width != spec.size || image.height != spec.size) {
    // A strip would be resized to a huge picture before it is cropped.
    const std::int64_t longer = std::max(image.width, image.height), shorter = std::min(image.width, image.height);
    check(spec.fit != Fit::crop || longer <= 200 * shorter, "a picture of {} x {} is too narrow to crop", image.width,
          image.height);
    image = spec.fit == Fit::crop  ? crop_to(image, spec.size)
            : spec.fit == Fit::pad ? pad_to(image, spec)
                                   : resize_bicubic(image, spec.size, spec.size);
  }
  return normalise_chw(image, spec.mean, spec.std);
}

void augment(std::vector<float>& pixels, const ImageSpec& spec, const AugmentationKey& key) {
  const PhiloxBlock words = philox(key.seed, {key.step, key.position, for_augmentation + key.picture, 0});
  const auto between = [](std::uint32_t word, float reach) { return (2.0F * uniform(word) - 1.0F) * reach; };
  const float gain = 1.0F + between(words[0], contrast), lift = between(words[1], brightness);
  const auto shift = [](std::uint32_t word) {
    return static_cast<int>(std::uint64_t{word} * (2 * max_shift + 1) >> 32) - max_shift;
  };
  const int dx = shift(words[2]), dy = shift(words[3]), n = spec.size;
  const std::vector<float> from = pixels;
  for (int c = 0; c < 3; ++c) {
    // With raw = x std + mean in [0, 1]: raw' = clamp((raw - 1/2) gain + 1/2 + lift).
    const float mean = spec.mean[static_cast<std::size_t>(c)], std = spec.std[static_cast<std::size_t>(c)];
    for (int y = 0; y < n; ++y) {
      const float* row = from.data() + (static_cast<std::size_t>(c) * n + std::clamp(y - dy, 0, n - 1)) * n;
      float* out = pixels.data() + (static_cast<std::size_t>(c) * n + y) * n;
      for (int x = 0; x < n; ++x) {
        const float raw = (row[std::clamp(x - dx, 0, n - 1)] * std + mean - 0.5F) * gain + 0.5F + lift;
        out[x] = (std::clamp(raw, 0.0F, 1.0F) - mean) / std;
      }
    }
  }
}

}  // namespace skymm
