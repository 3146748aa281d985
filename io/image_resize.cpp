#include "io/image_resize.hpp"

#include <smmintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.hpp"

namespace skymm {
namespace {

// Bicubic resizing in two passes, horizontal first, in 22-bit fixed point. The sums fit 32 bits: a kernel's weights add
// up to 2^22 and, with those below zero counted positive, to less than 1.4 times that.

constexpr int fixed_bits = 22;

double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

// Output i reads inputs [first[i], first[i] + count[i]) with weights [i * stride ...). Of outputs [begin, begin + n).
struct Taps {
  std::vector<int> first, count;
  std::vector<std::int32_t> weights;
  std::size_t stride = 0;
  const std::int32_t* of(int i) const { return weights.data() + static_cast<std::size_t>(i) * stride; }
};

Taps make_taps(int from, int to, int begin, int n) {
  const double scale = static_cast<double>(from) / to, widened = std::max(scale, 1.0), support = 2 * widened;
  Taps taps;
  taps.stride = static_cast<std::size_t>(2 * support) + 2;
  taps.weights.resize(static_cast<std::size_t>(n) * taps.stride);
  std::vector<double> weights;
  for (int i = 0; i < n; ++i) {
    const double centre = (begin + i + 0.5) * scale;
    const int first = std::max(static_cast<int>(centre - support + 0.5), 0);
    const int last = std::min(static_cast<int>(centre + support + 0.5), from);
    weights.clear();
    double sum = 0;
    for (int x = first; x < last; ++x) sum += weights.emplace_back(bicubic((x - centre + 0.5) / widened));
    taps.first.push_back(first);
    taps.count.push_back(last - first);
    std::int32_t* out = taps.weights.data() + static_cast<std::size_t>(i) * taps.stride;
    for (const double w : weights) *out++ = static_cast<std::int32_t>(std::lround(w / sum * (1 << fixed_bits)));
  }
  return taps;
}

const __m128i half = _mm_set1_epi32(1 << (fixed_bits - 1));

__m128i widen(const std::uint8_t* bytes) {
  std::int32_t word;
  std::memcpy(&word, bytes, sizeof word);
  return _mm_cvtepu8_epi32(_mm_cvtsi32_si128(word));
}

// Four rounded sums as bytes, clamped to [0, 255].
std::uint32_t narrow(__m128i sums) {
  const __m128i words = _mm_packs_epi32(_mm_srai_epi32(sums, fixed_bits), _mm_setzero_si128());
  return static_cast<std::uint32_t>(_mm_cvtsi128_si32(_mm_packus_epi16(words, words)));
}

// Four bytes are read and written a pixel, whatever its channels: both rows have a byte to spare.
template <int channels>
void resize_row(const std::uint8_t* in, std::uint8_t* out, const Taps& taps) {
  const int n = static_cast<int>(taps.first.size());
  for (int i = 0; i < n; ++i) {
    const std::int32_t* weights = taps.of(i);
    const std::uint8_t* p = in + static_cast<std::size_t>(taps.first[static_cast<std::size_t>(i)]) * channels;
    __m128i sums = half;
    for (int k = 0; k < taps.count[static_cast<std::size_t>(i)]; ++k, p += channels) {
      sums = _mm_add_epi32(sums, _mm_mullo_epi32(widen(p), _mm_set1_epi32(weights[k])));
    }
    const std::uint32_t pixel = narrow(sums);
    std::memcpy(out + static_cast<std::size_t>(i) * channels, &pixel, sizeof pixel);
  }
}

template <int channels>
void resize_horizontally(const std::uint8_t* in, std::uint8_t* out, int rows, int from, const Taps& taps) {
  const std::size_t in_row = static_cast<std::size_t>(from) * channels, out_row = taps.first.size() * channels;
  std::vector<std::uint8_t> wide_in(in_row + 4), wide_out(out_row + 4);
  for (int y = 0; y < rows; ++y) {
    std::memcpy(wide_in.data(), in + static_cast<std::size_t>(y) * in_row, in_row);
    resize_row<channels>(wide_in.data(), wide_out.data(), taps);
    std::memcpy(out + static_cast<std::size_t>(y) * out_row, wide_out.data(), out_row);
  }
}

// row_bytes: of a row of the picture.
void resize_vertically(const std::uint8_t* in, std::uint8_t* out, std::size_t row_bytes, const Taps& taps) {
  for (int y = 0; y < static_cast<int>(taps.first.size()); ++y) {
    const std::int32_t* weights = taps.of(y);
    const int count = taps.count[static_cast<std::size_t>(y)];
    const std::uint8_t* first = in + static_cast<std::size_t>(taps.first[static_cast<std::size_t>(y)]) * row_bytes;
    std::uint8_t* row = out + static_cast<std::size_t>(y) * row_bytes;
    std::size_t x = 0;
    for (; x + 8 <= row_bytes; x += 8) {
      __m128i low = half, high = half;
      const std::uint8_t* p = first + x;
      for (int k = 0; k < count; ++k, p += row_bytes) {
        const __m128i weight = _mm_set1_epi32(weights[k]);
        low = _mm_add_epi32(low, _mm_mullo_epi32(widen(p), weight));
        high = _mm_add_epi32(high, _mm_mullo_epi32(widen(p + 4), weight));
      }
      const std::uint32_t bytes[2] = {narrow(low), narrow(high)};
      std::memcpy(row + x, bytes, sizeof bytes);
    }
    for (; x < row_bytes; ++x) {
      std::int32_t sum = 1 << (fixed_bits - 1);
      for (int k = 0; k < count; ++k) sum += weights[k] * first[static_cast<std::size_t>(k) * row_bytes + x];
      row[x] = static_cast<std::uint8_t>(std::clamp(sum >> fixed_bits, 0, 255));
    }
  }
}

// The window of a picture of w x h resized to to_w x to_h.
template <int channels>
std::vector<std::uint8_t> resize(const std::vector<std::uint8_t>& in, int w, int h, int to_w, int to_h,
                                 const Window& window) {
  check(w > 0 && h > 0 && to_w > 0 && to_h > 0, "cannot resize a picture of {}x{} to {}x{}", w, h, to_w, to_h);
  check(window.x >= 0 && window.y >= 0 && window.width > 0 && window.height > 0 && window.x + window.width <= to_w &&
            window.y + window.height <= to_h,
        "a window of {}x{} at {}, {} does not lie in a picture of {}x{}", window.width, window.height, window.x,
        window.y, to_w, to_h);
  std::vector<std::uint8_t> wide;
  const std::vector<std::uint8_t>* source = &in;
  if (to_w != w || window.width != to_w) {
    wide.resize(static_cast<std::size_t>(window.width) * h * channels);
    resize_horizontally<channels>(in.data(), wide.data(), h, w, make_taps(w, to_w, window.x, window.width));
    source = &wide;
  }
  if (to_h == h && window.height == to_h) return *source;
  const std::size_t row_bytes = static_cast<std::size_t>(window.width) * channels;
  std::vector<std::uint8_t> out(row_bytes * static_cast<std::size_t>(window.height));
  resize_vertically(source->data(), out.data(), row_bytes, make_taps(h, to_h, window.y, window.height));
  return out;
}

// round(c * a / 255), exactly, for c and a up to 255.
constexpr unsigned scale_255(unsigned c, unsigned a) { return (c * a * 2 + 255) / 510; }

}  // namespace

Image resize_bicubic_window(const Image& image, int width, int height, const Window& window) {
  Image out;
  out.width = window.width;
  out.height = window.height;
  out.rgb = resize<3>(image.rgb, image.width, image.height, width, height, window);
  return out;
}

Image resize_bicubic(const Image& image, int width, int height) {
  return resize_bicubic_window(image, width, height, {0, 0, width, height});
}

ImageRgba resize_bicubic(const ImageRgba& image, int width, int height) {
  std::vector<std::uint8_t> premultiplied = image.rgba;
  for (std::size_t i = 0; i < premultiplied.size(); i += 4)
    for (std::size_t c = 0; c < 3; ++c)
      premultiplied[i + c] = static_cast<std::uint8_t>(scale_255(premultiplied[i + c], premultiplied[i + 3]));
  ImageRgba out{width, height,
                resize<4>(premultiplied, image.width, image.height, width, height, {0, 0, width, height})};
  for (std::size_t i = 0; i < out.rgba.size(); i += 4) {
    const unsigned a = out.rgba[i + 3];
    for (std::size_t c = 0; c < 3 && a > 0; ++c)
      out.rgba[i + c] = static_cast<std::uint8_t>(std::min(255u, (out.rgba[i + c] * 255u + a / 2) / a));
  }
  return out;
}

}  // namespace skymm
