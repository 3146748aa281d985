#include "io/base64.hpp"

#include <array>
#include <cstdint>

namespace skymm {
namespace {

constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr std::array<std::int8_t, 256> make_values() {
  std::array<std::int8_t, 256> values{};
  for (auto& value : values) value = -1;
  for (std::size_t i = 0; i < alphabet.size(); ++i) {
    values[static_cast<unsigned char>(alphabet[i])] = static_cast<std::int8_t>(i);
  }
  for (const char space : {' ', '\t', '\r', '\n'}) values[static_cast<unsigned char>(space)] = -2;
  return values;
}
constexpr std::array<std::int8_t, 256> values = make_values();

}  // namespace

std::optional<std::string> decode_base64(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3 + 3);
  std::uint32_t word = 0;
  int digits = 0, padding = 0;
  for (const char c : text) {
    if (c == '=') {
      ++padding;
      continue;
    }
    const std::int8_t value = values[static_cast<unsigned char>(c)];
    if (value == -2) continue;
    if (value < 0 || padding > 0) return std::nullopt;
    word = word << 6 | static_cast<std::uint32_t>(value);
    if (++digits < 4) continue;
    for (const int shift : {16, 8, 0}) bytes += static_cast<char>(word >> shift);
    word = 0;
    digits = 0;
  }
  if (digits == 1 || padding > 2) return std::nullopt;
  if (digits == 2) bytes += static_cast<char>(word >> 4);
  if (digits == 3) {
    bytes += static_cast<char>(word >> 10);
    bytes += static_cast<char>(word >> 2);
  }
  return bytes;
}

std::string encode_base64(std::string_view bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t word = 0;
    for (std::size_t k = 0; k < 3; ++k) {
      word = word << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    }
    for (std::size_t k = 0; k < 4; ++k) {
      text += i + k <= bytes.size() ? alphabet[word >> (18 - 6 * k) & 63] : '=';
    }
  }
  return text;
}

}  // namespace skymm
