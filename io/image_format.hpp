// What decoding and scanning of pictures share.
#pragma once

#include <cstdint>
#include <string_view>

namespace skymm {

enum class ImageFormat : std::uint8_t { jpeg, png, webp };

// By the first bytes. Throws Error for any other.
ImageFormat image_format(std::string_view bytes);

// Throws Error where a side is zero, or the picture is larger than `max_pixels`.
void check_image_size(const char* format, std::int64_t width, std::int64_t height, std::int64_t max_pixels);

}  // namespace skymm
