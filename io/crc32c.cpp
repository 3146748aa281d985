#include "io/crc32c.hpp"

#include <nmmintrin.h>

#include <cstring>

namespace skymm {

// SSE 4.2 has this polynomial's step as an instruction, and every machine that skymm runs on has SSE 4.2.
std::uint32_t crc32c(std::string_view bytes, std::uint32_t crc) {
  const char* p = bytes.data();
  std::size_t n = bytes.size();
  std::uint64_t wide = ~crc;
  for (; n >= 8; p += 8, n -= 8) {
    std::uint64_t word;
    std::memcpy(&word, p, 8);
    wide = _mm_crc32_u64(wide, word);
  }
  auto rest = static_cast<std::uint32_t>(wide);
  for (; n > 0; ++p, --n) rest = _mm_crc32_u8(rest, static_cast<unsigned char>(*p));
  return ~rest;
}

}  // namespace skymm
