// The structure of pictures, without their pixels.
#include <webp/decode.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>

#include "core/error.hpp"
#include "io/image.hpp"
#include "io/image_format.hpp"

namespace skymm {
namespace {

using namespace std::string_view_literals;

std::uint8_t byte_at(std::string_view bytes, std::size_t at) { return static_cast<std::uint8_t>(bytes[at]); }

std::uint32_t big_endian(std::string_view bytes, std::size_t at, int count) {
  std::uint32_t value = 0;
  for (int i = 0; i < count; ++i) value = value << 8 | byte_at(bytes, at + static_cast<std::size_t>(i));
  return value;
}

// ---- JPEG: segments by their lengths, and entropy-coded data, in which 0xFF stands before 0 or a restart mark only.

constexpr std::uint8_t end_of_image = 0xD9, start_of_scan = 0xDA;

bool is_restart(std::uint8_t code) { return code >= 0xD0 && code <= 0xD7; }
// SOF0 to SOF15; three codes among theirs mean something else (tables and an extension).
bool is_frame(std::uint8_t code) {
  return code >= 0xC0 && code <= 0xCF && code != 0xC4 && code != 0xC8 && code != 0xCC;
}

// From `at`, within entropy-coded data: where the next marker's 0xFF is.
std::size_t end_of_scan(std::string_view bytes, std::size_t at) {
  while (true) {
    at = bytes.find('\xff', at);
    check(at != std::string_view::npos && at + 1 < bytes.size(),
          "JPEG picture: the file is truncated, its {} bytes have no end", bytes.size());
    const std::uint8_t code = byte_at(bytes, at + 1);
    if (code == 0xFF) {  // padding
      ++at;
    } else if (code != 0 && !is_restart(code)) {
      return at;
    } else {
      at += 2;
    }
  }
}

void scan_jpeg(std::string_view bytes, std::int64_t max_pixels) {
  bool frame = false, scan = false;
  for (std::size_t at = 2;;) {
    check(at + 1 < bytes.size(), "JPEG picture: the file is truncated, its {} bytes have no end", bytes.size());
    check(byte_at(bytes, at) == 0xFF, "JPEG picture: byte {} should begin a segment", at);
    const std::uint8_t code = byte_at(bytes, at + 1);
    if (code == 0xFF) {
      ++at;
      continue;
    }
    if (code == end_of_image) break;
    if (is_restart(code)) {
      at += 2;
      continue;
    }
    const std::size_t length = at + 4 <= bytes.size() ? big_endian(bytes, at + 2, 2) : 0;
    check(length >= 2 && length <= bytes.size() - at - 2, "JPEG picture: the segment at byte {} is cut or damaged", at);
    if (is_frame(code)) {
      check(length >= 8, "JPEG picture: the frame at byte {} is damaged", at);
      check_image_size("JPEG", big_endian(bytes, at + 7, 2), big_endian(bytes, at + 5, 2), max_pixels);
      frame = true;
    }
    at += 2 + length;
    if (code != start_of_scan) continue;
    check(frame, "JPEG picture: its pixels come before its size");
    scan = true;
    at = end_of_scan(bytes, at);
  }
  check(scan, "JPEG picture: it has no pixels");
}

// ---- PNG: every chunk has a checksum.

void scan_png(std::string_view bytes, std::int64_t max_pixels) {
  bool data = false;
  for (std::size_t at = 8;;) {
    const std::size_t left = bytes.size() - at;
    const std::size_t length = left >= 12 ? big_endian(bytes, at, 4) : 0;
    check(left >= 12 && length <= left - 12, "PNG picture: the file is truncated in the chunk at byte {}", at);
    const std::string_view chunk = bytes.substr(at + 4, 4 + length), name = chunk.substr(0, 4);
    const auto sum = ::crc32(0, reinterpret_cast<const Bytef*>(chunk.data()), static_cast<uInt>(chunk.size()));
    check(sum == big_endian(bytes, at + 8 + length, 4), "PNG picture: the chunk at byte {} does not have its checksum",
          at);
    check((at == 8) == (name == "IHDR"sv && length == 13), "PNG picture: the chunk at byte {} is out of place", at);
    if (at == 8) check_image_size("PNG", big_endian(bytes, 16, 4), big_endian(bytes, 20, 4), max_pixels);
    data = data || name == "IDAT"sv;
    if (name == "IEND"sv) break;
    at += 12 + length;
  }
  check(data, "PNG picture: it has no pixels");
}

// ---- WebP: chunks by their lengths.

void scan_webp(std::string_view bytes, std::int64_t max_pixels) {
  const auto little_endian = [&](std::size_t at) {
    std::uint32_t value = 0;
    std::memcpy(&value, bytes.data() + at, sizeof value);
    return std::size_t{value};
  };
  WebPBitstreamFeatures features;
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  check(WebPGetFeatures(data, bytes.size(), &features) == VP8_STATUS_OK,
        "WebP picture: the header is truncated or damaged");
  check(!features.has_animation, "WebP picture: animations are not read; extract one frame");
  check_image_size("WebP", features.width, features.height, max_pixels);
  const std::size_t end = 8 + little_endian(4);
  check(end <= bytes.size(), "WebP picture: the file is truncated, it has {} bytes of {}", bytes.size(), end);
  for (std::size_t at = 12; at < end;) {
    check(end - at >= 8 && little_endian(at + 4) <= end - at - 8,
          "WebP picture: the chunk at byte {} is cut or damaged", at);
    at += 8 + little_endian(at + 4);
    at += std::min(at % 2, end - at);  // chunks are padded to two bytes; the last one's padding may be left out
  }
}

}  // namespace

void scan_image(std::string_view bytes, std::int64_t max_pixels) {
  switch (image_format(bytes)) {
    case ImageFormat::jpeg:
      return scan_jpeg(bytes, max_pixels);
    case ImageFormat::png:
      return scan_png(bytes, max_pixels);
    case ImageFormat::webp:
      return scan_webp(bytes, max_pixels);
  }
}

}  // namespace skymm
