#include "core/dtype.hpp"

#include "core/error.hpp"

namespace skymm {
namespace {

struct Entry {
  DType type;
  std::string_view name;
  std::size_t size;
};
constexpr Entry table[] = {{DType::f32, "f32", 4}, {DType::bf16, "bf16", 2}, {DType::f16, "f16", 2},
                           {DType::f64, "f64", 8}, {DType::i8, "i8", 1},     {DType::u8, "u8", 1},
                           {DType::i32, "i32", 4}, {DType::i64, "i64", 8}};

}  // namespace

std::size_t size_of(DType type) { return table[static_cast<int>(type)].size; }
std::string_view name_of(DType type) { return table[static_cast<int>(type)].name; }

DType parse_dtype(std::string_view name) {
  for (const Entry& entry : table) {
    if (entry.name == name) return entry.type;
  }
  fail("dtype '{}' is unknown; use one of f32 bf16 f16 f64 i8 u8 i32 i64", name);
}

Float16::Float16(float value) {
  const auto word = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((word >> 16) & 0x8000U);
  const std::uint32_t magnitude = word & 0x7fffffffU;
  if (magnitude > 0x7f800000U) {
    bits = sign | 0x7e00U;  // NaN
  } else if (magnitude >= 0x477ff000U) {
    bits = sign | 0x7c00U;  // rounds to infinity
  } else if (magnitude < 0x38800000U) {
    // Subnormal: adding 0.5 lets the float unit do the rounding at the right bit.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5F;
    bits = sign | static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(shifted) - 0x3f000000U);
  } else {
    const std::uint32_t rounded = magnitude + 0xfffU + ((magnitude >> 13) & 1U);
    bits = sign | static_cast<std::uint16_t>((rounded - 0x38000000U) >> 13);
  }
}

Float16::operator float() const {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000U) << 16;
  const std::uint32_t magnitude = bits & 0x7fffU;
  if (magnitude >= 0x7c00U) return std::bit_cast<float>(sign | 0x7f800000U | (magnitude & 0x3ffU) << 13);
  if (magnitude < 0x400U) {
    const float value = static_cast<float>(magnitude) * 0x1p-24F;
    return sign != 0 ? -value : value;
  }
  return std::bit_cast<float>(sign | ((magnitude << 13) + 0x38000000U));
}

}  // namespace skymm
