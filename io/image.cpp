#include "io/image.hpp"

#include <algorithm>
#include <cmath>

#include "core/error.hpp"

namespace skymm {

Image::Image(int w, int h, std::array<std::uint8_t, 3> colour)
    : width(w), height(h), rgb(static_cast<std::size_t>(w) * h * 3) {
  for (std::size_t i = 0; i < rgb.size(); ++i) rgb[i] = colour[i % 3];
}

namespace {

// round(c * a / 255), exactly, for c and a up to 255.
constexpr unsigned scale_255(unsigned c, unsigned a) { return (c * a * 2 + 255) / 510; }

constexpr int fixed_bits = 22;

double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

struct Taps {
  int first = 0;
  std::vector<std::int32_t> weights;
};

// Output pixel i reads inputs [first, first + weights.size()).
std::vector<Taps> make_taps(int from, int to) {
  const double scale = static_cast<double>(from) / to, widened = std::max(scale, 1.0), support = 2 * widened;
  std::vector<Taps> taps(static_cast<std::size_t>(to));
  std::vector<double> weights;
  for (int i = 0; i < to; ++i) {
    const double centre = (i + 0.5) * scale;
    const int first = std::max(static_cast<int>(centre - support + 0.5), 0);
    const int last = std::min(static_cast<int>(centre + support + 0.5), from);
    weights.clear();
    double sum = 0;
    for (int x = first; x < last; ++x) sum += weights.emplace_back(bicubic((x - centre + 0.5) / widened));
    Taps& out = taps[static_cast<std::size_t>(i)];
    out.first = first;
    for (const double w : weights)
      out.weights.push_back(static_cast<std::int32_t>(std::lround(w / sum * (1 << fixed_bits))));
  }
  return taps;
}

std::uint8_t round_fixed(std::int64_t sum) {
  return static_cast<std::uint8_t>(std::clamp<std::int64_t>((sum + (1 << (fixed_bits - 1))) >> fixed_bits, 0, 255));
}

// One separable pass. A line is `outer` runs of `from` elements, `inner` values each; resizes the middle extent.
template <int channels_if_known>
void resize_pass(const std::uint8_t* in, std::uint8_t* out, int outer, int from, int to, int inner) {
  const std::vector<Taps> taps = make_taps(from, to);
  const std::size_t step = channels_if_known ? channels_if_known : static_cast<std::size_t>(inner);
  for (int o = 0; o < outer; ++o) {
    const std::uint8_t* run = in + static_cast<std::size_t>(o) * from * step;
    std::uint8_t* to_run = out + static_cast<std::size_t>(o) * to * step;
    for (int i = 0; i < to; ++i) {
      const Taps& tap = taps[static_cast<std::size_t>(i)];
      const std::uint8_t* first = run + static_cast<std::size_t>(tap.first) * step;
      for (std::size_t c = 0; c < step; ++c) {
        std::int64_t sum = 0;
        for (std::size_t k = 0; k < tap.weights.size(); ++k) sum += std::int64_t{tap.weights[k]} * first[k * step + c];
        to_run[static_cast<std::size_t>(i) * step + c] = round_fixed(sum);
      }
    }
  }
}

template <int channels>
std::vector<std::uint8_t> resize(const std::vector<std::uint8_t>& in, int w, int h, int to_w, int to_h) {
  check(w > 0 && h > 0 && to_w > 0 && to_h > 0, "cannot resize a picture of {}x{} to {}x{}", w, h, to_w, to_h);
  std::vector<std::uint8_t> wide;
  const std::vector<std::uint8_t>* source = &in;
  if (to_w != w) {
    wide.resize(static_cast<std::size_t>(to_w) * h * channels);
    resize_pass<channels>(in.data(), wide.data(), h, w, to_w, channels);
    source = &wide;
  }
  if (to_h == h) return *source;
  std::vector<std::uint8_t> out(static_cast<std::size_t>(to_w) * to_h * channels);
  resize_pass<0>(source->data(), out.data(), 1, h, to_h, to_w * channels);
  return out;
}

}  // namespace

Image decode_image(std::string_view bytes, std::int64_t max_pixels) {
  const ImageRgba with_alpha = decode_image_rgba(bytes, max_pixels);
  Image image(with_alpha.width, with_alpha.height);
  composite(image, with_alpha, 0, 0);
  return image;
}

Image resize_bicubic(const Image& image, int width, int height) {
  Image out;
  out.width = width;
  out.height = height;
  out.rgb = resize<3>(image.rgb, image.width, image.height, width, height);
  return out;
}

ImageRgba resize_bicubic(const ImageRgba& image, int width, int height) {
  std::vector<std::uint8_t> premultiplied = image.rgba;
  for (std::size_t i = 0; i < premultiplied.size(); i += 4)
    for (std::size_t c = 0; c < 3; ++c)
      premultiplied[i + c] = static_cast<std::uint8_t>(scale_255(premultiplied[i + c], premultiplied[i + 3]));
  ImageRgba out{width, height, resize<4>(premultiplied, image.width, image.height, width, height)};
  for (std::size_t i = 0; i < out.rgba.size(); i += 4) {
    const unsigned a = out.rgba[i + 3];
    for (std::size_t c = 0; c < 3 && a > 0; ++c)
      out.rgba[i + c] = static_cast<std::uint8_t>(std::min(255u, (out.rgba[i + c] * 255u + a / 2) / a));
  }
  return out;
}

void composite(Image& image, const ImageRgba& over, int x, int y) {
  for (int row = std::max(0, -y); row < std::min(over.height, image.height - y); ++row) {
    for (int column = std::max(0, -x); column < std::min(over.width, image.width - x); ++column) {
      const std::uint8_t* from = over.rgba.data() + (static_cast<std::size_t>(row) * over.width + column) * 4;
      std::uint8_t* to = image.at(x + column, y + row);
      const unsigned a = from[3];
      for (int c = 0; c < 3; ++c)
        to[c] = static_cast<std::uint8_t>((from[c] * a * 2 + to[c] * (255 - a) * 2 + 255) / 510);
    }
  }
}

std::vector<float> normalise_chw(const Image& image, const std::array<float, 3>& mean,
                                 const std::array<float, 3>& std) {
  const std::size_t pixels = static_cast<std::size_t>(image.width) * image.height;
  std::vector<float> out(pixels * 3);
  for (std::size_t c = 0; c < 3; ++c) {
    std::array<float, 256> value;
    for (std::size_t v = 0; v < 256; ++v) value[v] = (static_cast<float>(v) / 255 - mean[c]) / std[c];
    for (std::size_t i = 0; i < pixels; ++i) out[c * pixels + i] = value[image.rgb[i * 3 + c]];
  }
  return out;
}

}  // namespace skymm
