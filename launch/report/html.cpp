#include "launch/report/html.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "io/base64.hpp"
#include "io/image.hpp"
#include "io/utf8.hpp"

namespace skymm {
namespace {

std::string_view media_type(std::string_view bytes) {
  if (bytes.starts_with("\x89PNG")) return "image/png";
  if (bytes.starts_with("\xff\xd8\xff")) return "image/jpeg";
  if (bytes.starts_with("RIFF") && bytes.substr(0, 12).ends_with("WEBP")) return "image/webp";
  return "";
}

std::string shrunk(const std::string& bytes, int longest) {
  const Image image = decode_image(bytes);
  const double scale = std::min(1.0, static_cast<double>(longest) / std::max(image.width, image.height));
  const auto side = [&](int length) { return std::max(1, static_cast<int>(std::lround(length * scale))); };
  return encode_jpeg(resize_bicubic(image, side(image.width), side(image.height)), 85);
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string escaped;
  for (const char c : valid_utf8(text)) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      case '\t':
      case '\n':
        escaped += c;
        break;
      case '\r':
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
          escaped += "\xef\xbf\xbd";
        } else {
          escaped += c;
        }
    }
  }
  return escaped;
}

std::string image_source(const std::string& bytes, std::size_t most_bytes, int longest) {
  const std::string_view type = media_type(bytes);
  if (type.empty()) return "";
  if (bytes.size() <= most_bytes) return fmt::format("data:{};base64,{}", type, encode_base64(bytes));
  try {
    return "data:image/jpeg;base64," + encode_base64(shrunk(bytes, longest));
  } catch (const Error&) {
    return "";
  }
}

std::string grouped(std::int64_t value) {
  const std::string digits = std::to_string(value);
  const std::size_t first = value < 0 ? 1 : 0;
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > first && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

std::string number_text(double value) {
  if (!std::isfinite(value)) return fmt::format("{}", value);
  const double size = std::abs(value);
  if (size >= 1000 && size < 1e15) return grouped(std::llround(value));
  if (size == 0 || size >= 1e-3) return fmt::format("{:.4g}", value);
  std::string text = fmt::format("{:.2g}", value);  // 3.1e-05
  if (const std::size_t zero = text.find("e-0"); zero != std::string::npos) text.erase(zero + 2, 1);
  return text;
}

std::string duration_text(double seconds) {
  const std::int64_t s = std::llround(seconds);
  if (s < 60) return fmt::format("{} s", s);
  if (s < 3600) return fmt::format("{} min {:02} s", s / 60, s % 60);
  return fmt::format("{} h {:02} min", s / 3600, s / 60 % 60);
}

std::string percent_text(double share) { return fmt::format("{:.1f} %", 100 * share); }

}  // namespace skymm
