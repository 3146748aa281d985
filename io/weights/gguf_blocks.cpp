#include "io/weights/gguf_blocks.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "core/dtype.hpp"

namespace skymm {
namespace {

using Byte = std::uint8_t;

float half(const Byte* at) {
  Float16 value;
  std::memcpy(&value.bits, at, sizeof value.bits);
  return static_cast<float>(value);
}

int low(Byte byte) { return byte & 0xF; }
int high(Byte byte) { return byte >> 4; }

// y = d q, or d q + m: [d, (m), 16 bytes], the low halves are elements 0 to 15, the high ones 16 to 31. q is centred
// where there is no m.
template <bool has_minimum>
void four_bits(const Byte* block, float* y) {
  const float d = half(block), m = has_minimum ? half(block + 2) : -8 * d;
  const Byte* q = block + (has_minimum ? 4 : 2);
  for (int i = 0; i < 16; ++i) {
    y[i] = has_minimum ? d * static_cast<float>(low(q[i])) + m : d * static_cast<float>(low(q[i]) - 8);
    y[i + 16] = has_minimum ? d * static_cast<float>(high(q[i])) + m : d * static_cast<float>(high(q[i]) - 8);
  }
}

// The same with a fifth bit of every element in 4 bytes before the halves.
template <bool has_minimum>
void five_bits(const Byte* block, float* y) {
  const float d = half(block), m = has_minimum ? half(block + 2) : 0.0F;
  const Byte* fifth = block + (has_minimum ? 4 : 2);
  const Byte* q = fifth + 4;
  std::uint32_t bits = 0;
  std::memcpy(&bits, fifth, sizeof bits);
  for (int i = 0; i < 32; ++i) {
    const int value = (i < 16 ? low(q[i]) : high(q[i - 16])) | static_cast<int>((bits >> i & 1U) << 4);
    y[i] = has_minimum ? d * static_cast<float>(value) + m : d * static_cast<float>(value - 16);
  }
}

void eight_bits(const Byte* block, float* y) {
  const float d = half(block);
  for (int i = 0; i < 32; ++i) y[i] = d * static_cast<float>(std::bit_cast<std::int8_t>(block[2 + i]));
}

struct ScaleAndMinimum {
  float scale, minimum;
};

// Eight pairs of 6 bits in 12 bytes: pairs 0 to 3 in the low bits of bytes 0-3 and 4-7; pairs 4 to 7 have their low
// four bits in bytes 8-11 and their upper two in the upper bits of the bytes before.
ScaleAndMinimum sub_block(const Byte* scales, int i) {
  int scale = 0, minimum = 0;
  if (i < 4) {
    scale = scales[i] & 63;
    minimum = scales[i + 4] & 63;
  } else {
    scale = low(scales[i + 4]) | (scales[i - 4] >> 6) << 4;
    minimum = high(scales[i + 4]) | (scales[i] >> 6) << 4;
  }
  return {static_cast<float>(scale), static_cast<float>(minimum)};
}

// [d, dmin, 12 bytes of scales, (32 bytes of fifth bits), 128 bytes]: y = d scale q - dmin minimum, in eight sub-blocks
// of 32; two of them share 32 bytes, the first in the low halves.
template <bool has_fifth>
void k_four_or_five_bits(const Byte* block, float* y) {
  const float d = half(block), dmin = half(block + 2);
  const Byte* fifth = block + 16;
  const Byte* q = block + (has_fifth ? 48 : 16);
  for (int sub = 0; sub < 8; ++sub) {
    const ScaleAndMinimum s = sub_block(block + 4, sub);
    const float scale = d * s.scale, minimum = dmin * s.minimum;
    const Byte* bytes = q + sub / 2 * 32;
    for (int i = 0; i < 32; ++i) {
      int value = sub % 2 == 0 ? low(bytes[i]) : high(bytes[i]);
      if (has_fifth) value |= (fifth[i] >> sub & 1) << 4;
      y[sub * 32 + i] = scale * static_cast<float>(value) - minimum;
    }
  }
}

// [128 bytes of low four bits, 64 of upper two, 16 scales of 8 bits, d]: y = d scale (q - 32), a scale for 16 elements.
// Two halves of 128 elements; in each, four groups of 32 share their bytes.
void k_six_bits(const Byte* block, float* y) {
  const float d = half(block + 208);
  for (int part = 0; part < 2; ++part) {
    const Byte* lower = block + part * 64;
    const Byte* upper = block + 128 + part * 32;
    const Byte* scales = block + 192 + part * 8;
    for (int group = 0; group < 4; ++group) {
      for (int i = 0; i < 32; ++i) {
        const Byte byte = lower[group % 2 * 32 + i];
        const int value = (group < 2 ? low(byte) : high(byte)) | (upper[i] >> 2 * group & 3) << 4;
        const auto scale = static_cast<float>(std::bit_cast<std::int8_t>(scales[group * 2 + i / 16]));
        y[part * 128 + group * 32 + i] = d * scale * static_cast<float>(value - 32);
      }
    }
  }
}

template <void (*block)(const Byte*, float*), std::int64_t bytes, std::int64_t elements>
void each(const Byte* from, std::int64_t blocks, float* to) {
  for (std::int64_t i = 0; i < blocks; ++i) block(from + i * bytes, to + i * elements);
}

struct Named {
  std::string_view type;
  Dequantize dequantize;
};

constexpr std::array<Named, 8> table = {{{"Q4_0", each<four_bits<false>, 18, 32>},
                                         {"Q4_1", each<four_bits<true>, 20, 32>},
                                         {"Q5_0", each<five_bits<false>, 22, 32>},
                                         {"Q5_1", each<five_bits<true>, 24, 32>},
                                         {"Q8_0", each<eight_bits, 34, 32>},
                                         {"Q4_K", each<k_four_or_five_bits<false>, 144, 256>},
                                         {"Q5_K", each<k_four_or_five_bits<true>, 176, 256>},
                                         {"Q6_K", each<k_six_bits, 210, 256>}}};

}  // namespace

Dequantize find_dequantize(std::string_view type) {
  const auto found = std::ranges::find(table, type, &Named::type);
  return found == table.end() ? nullptr : found->dequantize;
}

}  // namespace skymm
