// Pictures in memory: decoding, encoding, resizing and the ViT's input.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace skymm {

struct Image {
  int width = 0, height = 0;
  std::vector<std::uint8_t> rgb;  // [height, width, 3]

  Image() = default;
  Image(int w, int h, std::array<std::uint8_t, 3> colour = {255, 255, 255});
  std::uint8_t* at(int x, int y) { return rgb.data() + (static_cast<std::size_t>(y) * width + x) * 3; }
  const std::uint8_t* at(int x, int y) const { return rgb.data() + (static_cast<std::size_t>(y) * width + x) * 3; }
};

// The same with alpha (not premultiplied): glyphs and cut-outs before they are put on a ground.
struct ImageRgba {
  int width = 0, height = 0;
  std::vector<std::uint8_t> rgba;  // [height, width, 4]
};

// A picture larger than this is refused before it is decoded.
constexpr std::int64_t max_image_pixels = 100'000'000;

// JPEG, PNG or WebP, known by its first bytes; alpha is composited over white; 16-bit PNG keeps its upper bytes; gamma,
// profiles and orientation tags are ignored, as by PIL. Throws Error with the reason where the bytes are truncated,
// corrupt, of another format, animated or too large.
Image decode_image(std::string_view bytes, std::int64_t max_pixels = max_image_pixels);
ImageRgba decode_image_rgba(std::string_view bytes, std::int64_t max_pixels = max_image_pixels);
// The same picture, but a JPEG may come at a half, a quarter or an eighth of its size, as long as neither side becomes
// less than `least_side`: all of its coefficients are read, few are transformed. Differs a little from decoding and
// resizing. max_pixels is of the whole size.
Image decode_image_reduced(std::string_view bytes, int least_side, std::int64_t max_pixels = max_image_pixels);

// Follows the picture's structure from its start to its end, many times as fast as decoding. Throws Error where that is
// truncated or damaged and where the picture is too large. PNG's checksums are compared; what is wrong within the
// pixels of JPEG or WebP only decoding finds.
void scan_image(std::string_view bytes, std::int64_t max_pixels = max_image_pixels);

// level: zlib's, 0 to 9.
std::string encode_png(const Image& image, int level = 1);
// quality: 1 to 100.
std::string encode_jpeg(const Image& image, int quality = 90);

// Bicubic (Keys, a = -0.5), the kernel widened by the scale when shrinking; taps in 22-bit fixed point, rounded after
// the horizontal and after the vertical pass: the filter of PIL's Image.resize(BICUBIC).
Image resize_bicubic(const Image& image, int width, int height);
// The same on premultiplied colour, so that hidden colours do not bleed into edges.
ImageRgba resize_bicubic(const ImageRgba& image, int width, int height);

// Blends `over` onto `image` with its corner at (x, y); what lies outside is cut off.
void composite(Image& image, const ImageRgba& over, int x, int y);

constexpr std::array<float, 3> clip_mean = {0.48145466f, 0.4578275f, 0.40821073f};
constexpr std::array<float, 3> clip_std = {0.26862954f, 0.26130258f, 0.27577711f};

// (rgb / 255 - mean) / std as [3, height, width].
std::vector<float> normalise_chw(const Image& image, const std::array<float, 3>& mean = clip_mean,
                                 const std::array<float, 3>& std = clip_std);

}  // namespace skymm
