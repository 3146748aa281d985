#include "io/image.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <webp/encode.h>
#include <zlib.h>

#include <functional>

#include "core/error.hpp"
#include "io/image_resize.hpp"
#include "support/golden.hpp"

namespace skymm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Image ramp(int w, int h) {
  Image image(w, h);
  for (int y = 0; y < h; ++y)
    for (int x = 0; x < w; ++x) {
      image.at(x, y)[0] = static_cast<std::uint8_t>(x * 255 / w);
      image.at(x, y)[1] = static_cast<std::uint8_t>(y * 255 / h);
      image.at(x, y)[2] = static_cast<std::uint8_t>((x + y) % 2 * 20 + 100);
    }
  return image;
}

std::string encode_webp(const Image& image) {
  std::uint8_t* out = nullptr;
  const std::size_t bytes = WebPEncodeLosslessRGB(image.rgb.data(), image.width, image.height, image.width * 3, &out);
  std::string result(reinterpret_cast<const char*>(out), bytes);
  WebPFree(out);
  return result;
}

template <class Call>
std::string message_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.message();
  }
  return "no error";
}

TEST(Image, PngAndWebpRoundTripExactly) {
  for (auto [w, h] : {std::pair{1, 1}, {37, 23}, {112, 112}}) {
    const Image image = ramp(w, h);
    for (int level : {0, 1, 9}) EXPECT_EQ(decode_image(encode_png(image, level)).rgb, image.rgb);
    EXPECT_EQ(decode_image(encode_webp(image)).rgb, image.rgb);
  }
}

TEST(Image, JpegIsClose) {
  Image image = ramp(64, 48);
  for (std::size_t i = 2; i < image.rgb.size(); i += 3) image.rgb[i] = 90;
  const Image back = decode_image(encode_jpeg(image, 95));
  ASSERT_EQ(back.width, 64);
  ASSERT_EQ(back.height, 48);
  for (std::size_t i = 0; i < image.rgb.size(); ++i) EXPECT_NEAR(back.rgb[i], image.rgb[i], 12);
}

TEST(Image, AlphaIsCompositedOverWhite) {
  Image white(2, 1);
  composite(white, ImageRgba{3, 1, {255, 0, 0, 128, 0, 0, 0, 255, 9, 9, 9, 255}}, 0, 0);
  EXPECT_THAT(white.rgb, ElementsAre(255, 127, 127, 0, 0, 0));
  Image outside(2, 2);
  composite(outside, ImageRgba{2, 2, std::vector<std::uint8_t>(16, 255)}, -5, 7);
  composite(outside, ImageRgba{2, 2, {0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255, 1, 2, 3, 255}}, -1, -1);
  EXPECT_THAT(outside.rgb, ElementsAre(1, 2, 3, 255, 255, 255, 255, 255, 255, 255, 255, 255));
}

TEST(Image, EveryTruncationIsAnError) {
  const Image image = ramp(33, 29);
  for (const std::string& whole : {encode_png(image), encode_jpeg(image), encode_webp(image)}) {
    for (std::size_t n = 0; n + 2 < whole.size(); n += 7)
      EXPECT_THROW(decode_image(std::string_view(whole).substr(0, n)), Error) << n << " of " << whole.size();
  }
  const std::string png = encode_png(image), jpeg = encode_jpeg(image);
  EXPECT_THAT(message_of([&] { decode_image(std::string_view(png).substr(0, png.size() / 2)); }),
              HasSubstr("truncated"));
  EXPECT_THAT(message_of([&] { decode_image(std::string_view(jpeg).substr(0, jpeg.size() / 2)); }),
              HasSubstr("JPEG picture: "));
}

TEST(Image, CorruptAndForeignBytesAreErrors) {
  std::string png = encode_png(ramp(20, 20));
  png[png.size() / 2] ^= 0x55;
  EXPECT_THAT(message_of([&] { decode_image(png); }), HasSubstr("PNG picture"));
  EXPECT_THAT(message_of([&] { decode_image("GIF89a"); }), HasSubstr("neither JPEG, PNG nor WebP"));
  EXPECT_THAT(message_of([&] { decode_image(""); }), HasSubstr("empty"));
}

TEST(Image, TooManyPixelsAreRefusedBeforeDecoding) {
  const Image image = ramp(40, 30);
  for (const std::string& bytes : {encode_png(image), encode_jpeg(image), encode_webp(image)}) {
    EXPECT_THAT(message_of([&] { decode_image(bytes, 1199); }), HasSubstr("40x30 pixels; at most 1199"));
    EXPECT_EQ(decode_image(bytes, 1200).width, 40);
  }
}

// Weights at a = -0.5 for a shift of a quarter pixel are (-9, 111, 29, -3) / 128, renormalised where the edge cuts
// them.
TEST(Image, ResizeEnlargesByTheBicubicKernel) {
  Image line(4, 1);
  for (int x = 0; x < 4; ++x) line.at(x, 0)[0] = static_cast<std::uint8_t>(std::array{0, 64, 128, 192}[x]);
  const Image twice = resize_bicubic(line, 8, 1);
  // Output 3 is at 1.25 in input pixels: (-9*0 + 111*64 + 29*128 - 3*192) / 128 = 80.
  EXPECT_EQ(twice.at(3, 0)[0], 80);
  EXPECT_EQ(twice.at(4, 0)[0], 112);
  // Output 1 is at 0.25: taps 0, 1, 2 with 111, 29, -3 of 137: (29*64 - 3*128) / 137 = 10.7.
  EXPECT_EQ(twice.at(1, 0)[0], 11);
}

// Halving: the kernel stretched to twice its width, evaluated here in floating point.
TEST(Image, ResizeShrinksWithAWidenedKernel) {
  Image line(16, 1, {0, 0, 0});
  for (int x = 8; x < 16; ++x) line.at(x, 0)[1] = 255;
  const Image half = resize_bicubic(line, 8, 1);
  // 29-9-3.
  const auto weight = [](double x) {
    x = std::abs(x);
    return x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0.0;
  };
  for (int i = 0; i < 8; ++i) {
    double sum = 0, bright = 0;
    for (int x = 0; x < 16; ++x) {
      const double w = weight((x + 0.5 - (i + 0.5) * 2) / 2);
      sum += w;
      if (x >= 8) bright += w;
    }
    EXPECT_EQ(half.at(i, 0)[1], std::clamp(std::lround(255 * bright / sum), 0L, 255L)) << i;
  }
  EXPECT_EQ(resize_bicubic(Image(9, 7, {7, 8, 9}), 4, 5).rgb, Image(4, 5, {7, 8, 9}).rgb);
  EXPECT_EQ(resize_bicubic(line, 16, 1).rgb, line.rgb);
}

TEST(Image, ResizesAsPil) {
  const testing::Golden golden("resize");
  ASSERT_EQ(golden.tensors().size(), 8U);
  for (const auto& [name, expected] : golden.tensors()) {
    int w = 0, h = 0, to_w = 0, to_h = 0;
    ASSERT_EQ(std::sscanf(name.c_str(), "%dx%d.%dx%d", &w, &h, &to_w, &to_h), 4);
    Image image(w, h);
    for (std::size_t i = 0; i < image.rgb.size(); ++i) {
      image.rgb[i] = static_cast<std::uint8_t>(i * 7 + i / 99 * 31 + i * i / 1000 * 57);
    }
    const Image resized = resize_bicubic(image, to_w, to_h);
    const Window window{to_w / 3, to_h / 4, to_w - to_w / 2, to_h - to_h / 2};
    const Image part = resize_bicubic_window(image, to_w, to_h, window);
    for (int y = 0; y < part.height; ++y) {
      for (int x = 0; x < 3 * part.width; ++x) {
        EXPECT_EQ(part.at(0, y)[x], resized.at(window.x, window.y + y)[x]) << name;
      }
    }
    EXPECT_EQ(std::vector<double>(resized.rgb.begin(), resized.rgb.end()), golden.values(name)) << name;
  }
}

// Halves, quarters and eighths of a JPEG, as far as they are large enough; close to the whole one made small.
TEST(Image, ReducedJpegs) {
  const Image image = ramp(160, 120);
  const std::string jpeg = encode_jpeg(image, 95), png = encode_png(image);
  for (const auto& [least, width] : {std::pair{121, 160}, {61, 160}, {60, 80}, {31, 80}, {30, 40}, {15, 20}, {1, 20}}) {
    const Image reduced = decode_image_reduced(jpeg, least);
    ASSERT_EQ(reduced.width, width) << least;
    ASSERT_EQ(reduced.height, width * 3 / 4);
    const Image small = resize_bicubic(decode_image(jpeg), reduced.width, reduced.height);
    double difference = 0;
    for (std::size_t i = 0; i < small.rgb.size(); ++i) difference += std::abs(small.rgb[i] - reduced.rgb[i]);
    EXPECT_LT(difference / static_cast<double>(small.rgb.size()), 6) << least;
    EXPECT_EQ(decode_image_reduced(png, least).rgb, image.rgb);
  }
  for (std::size_t n = 0; n < jpeg.size(); n += 97) {
    EXPECT_THROW(decode_image_reduced(std::string_view(jpeg).substr(0, n), 1), Error) << n;
  }
}

TEST(Image, ScansFindWhatIsTruncatedDamagedOrTooLarge) {
  const std::string jpeg = encode_jpeg(ramp(160, 120)), png = encode_png(ramp(160, 120)),
                    webp = encode_webp(ramp(160, 120));
  for (const std::string_view whole : {jpeg, png, webp}) {
    scan_image(whole);
    for (std::size_t n = 0; n < whole.size(); n += 41) EXPECT_THROW(scan_image(whole.substr(0, n)), Error) << n;
    EXPECT_THAT(message_of([&] { scan_image(whole, 160 * 120 - 1); }), HasSubstr("160x120"));
  }
  for (std::size_t n = 0; n + 13 < png.size(); n += 41) {  // each byte of a PNG is under a checksum
    std::string damaged = png;
    damaged[n] = static_cast<char>(damaged[n] ^ 4);
    EXPECT_THROW(scan_image(damaged), Error) << n;
  }
  std::string restarts = jpeg;  // a restart mark in the pixels is no end of them, another mark without a segment is
  restarts.replace(restarts.size() - 40, 2, "\xff\xd3");
  scan_image(restarts);
  restarts.replace(restarts.size() - 40, 2, "\xff\xc4");
  EXPECT_THROW(scan_image(restarts), Error);
}

// libpng makes room for a row before anyone can say that it is too long.
TEST(Image, PngSizesAreCheckedBeforeRoomIsMade) {
  std::string png = encode_png(ramp(3, 2));
  png.replace(16, 8, std::string_view("\x7f\xff\xff\xff\0\0\0\1", 8));
  const auto sum = ::crc32(0, reinterpret_cast<const Bytef*>(png.data() + 12), 17);
  for (std::size_t i = 0; i < 4; ++i) png[29 + i] = static_cast<char>(sum >> (24 - 8 * i));
  for (const auto& read : {std::function([](std::string_view bytes) { scan_image(bytes); }),
                           std::function([](std::string_view bytes) { decode_image(bytes); })}) {
    EXPECT_THAT(message_of([&] { read(png); }), HasSubstr("PNG picture of 2147483647x1 pixels"));
  }
}

TEST(Image, ResizeTreatsRowsAsColumns) {
  const Image image = ramp(19, 13);
  Image turned(13, 19);
  for (int y = 0; y < 13; ++y)
    for (int x = 0; x < 19; ++x) std::copy_n(image.at(x, y), 3, turned.at(y, x));
  const Image a = resize_bicubic(image, 19, 31), b = resize_bicubic(turned, 31, 19);
  for (int y = 0; y < 31; ++y)
    for (int x = 0; x < 19; ++x) EXPECT_EQ(a.at(x, y)[0], b.at(y, x)[0]);
}

TEST(Image, HiddenColoursDoNotBleed) {
  ImageRgba dot{4, 4, std::vector<std::uint8_t>(64, 0)};
  for (std::size_t i = 0; i < 16; ++i) dot.rgba[4 * i] = i < 8 ? 200 : 0, dot.rgba[4 * i + 1] = i < 8 ? 0 : 255;
  for (std::size_t i = 0; i < 8; ++i) dot.rgba[4 * i + 3] = 255;  // the green half is invisible
  const ImageRgba small = resize_bicubic(dot, 2, 3);
  for (std::size_t i = 0; i < small.rgba.size(); i += 4) EXPECT_EQ(small.rgba[i + 1], 0);
}

TEST(Image, NormaliseIsChannelFirst) {
  Image image(2, 1);
  image.rgb = {0, 51, 255, 255, 102, 0};
  EXPECT_THAT(normalise_chw(image, {0.5f, 0.2f, 0}, {0.5f, 0.1f, 2}),
              ElementsAre(-1, 1, ::testing::FloatNear(0, 1e-6f), ::testing::FloatNear(2, 1e-6f), 0.5f, 0));
  EXPECT_FLOAT_EQ(normalise_chw(image)[0], -clip_mean[0] / clip_std[0]);
}

}  // namespace
}  // namespace skymm
