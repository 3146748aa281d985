// Text and bytes inside HTML that is also well-formed XML.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace skymm {

// For element text and quoted attributes. What is no UTF-8, and control characters, become U+FFFD.
std::string escape_html(std::string_view text);

// <img> source of a PNG, JPEG or WebP that holds the picture itself; "" where the bytes are none of these. Pictures of
// more than `most_bytes` are shrunk to `longest` pixels a side, and are left out ("") where they cannot be decoded.
std::string image_source(const std::string& bytes, std::size_t most_bytes = 150'000, int longest = 512);

// 1,234,567
std::string grouped(std::int64_t value);
// Four digits that matter, thousands grouped: 0.4123, 12.35, 1,235, 3.1e-5.
std::string number_text(double value);
// 47 s, 9 min 40 s, 3 h 05 min
std::string duration_text(double seconds);
std::string percent_text(double share);  // 87.3 %

}  // namespace skymm
