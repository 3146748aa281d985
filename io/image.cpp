#include "io/image.hpp"

#include <algorithm>

namespace skymm {

Image::Image(int w, int h, std::array<std::uint8_t, 3> colour)
    : width(w), height(h), rgb(static_cast<std::size_t>(w) * h * 3) {
  for (std::size_t i = 0; i < rgb.size(); ++i) rgb[i] = colour[i % 3];
}

void composite(Image& image, const ImageRgba& over, int x, int y) {
  for (int row = std::max(0, -y); row < std::min(over.height, image.height - y); ++row) {
    for (int column = std::max(0, -x); column < std::min(over.width, image.width - x); ++column) {
      const std::uint8_t* from = over.rgba.data() + (static_cast<std::size_t>(row) * over.width + column) * 4;
      std::uint8_t* to = image.at(x + column, y + row);
      const unsigned a = from[3];
      if (a == 255) {
        std::copy_n(from, 3, to);
        continue;
      }
      for (int c = 0; c < 3; ++c)
        to[c] = static_cast<std::uint8_t>((from[c] * a * 2 + to[c] * (255 - a) * 2 + 255) / 510);
    }
  }
}

std::vector<float> normalise_chw(const Image& image, const std::array<float, 3>& mean,
                                 const std::array<float, 3>& std) {
  const std::size_t pixels = static_cast<std::size_t>(image.width) * image.height;
  std::vector<float> out(pixels * 3);
  std::array<std::array<float, 256>, 3> values;
  for (std::size_t c = 0; c < 3; ++c) {
    for (std::size_t v = 0; v < 256; ++v) values[c][v] = (static_cast<float>(v) / 255 - mean[c]) / std[c];
  }
  const std::uint8_t* pixel = image.rgb.data();
  for (std::size_t i = 0; i < pixels; ++i, pixel += 3) {
    for (std::size_t c = 0; c < 3; ++c) out[c * pixels + i] = values[c][pixel[c]];
  }
  return out;
}

}  // namespace skymm
