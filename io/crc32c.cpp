#include "io/crc32c.hpp"

#include <array>
#include <cstring>

namespace skymm {
namespace {

// table[k][b]: the remainder of byte b followed by k zero bytes ("slicing by 8").
using Table = std::array<std::array<std::uint32_t, 256>, 8>;

constexpr Table make_table() {
  Table table{};
  for (std::uint32_t b = 0; b < 256; ++b) {
    std::uint32_t r = b;
    for (int i = 0; i < 8; ++i) r = (r >> 1) ^ (r & 1 ? 0x82F63B78u : 0u);
    table[0][b] = r;
  }
  for (std::size_t k = 1; k < 8; ++k)
    for (std::size_t b = 0; b < 256; ++b) table[k][b] = (table[k - 1][b] >> 8) ^ table[0][table[k - 1][b] & 255];
  return table;
}
constexpr Table table = make_table();

}  // namespace

std::uint32_t crc32c(std::string_view bytes, std::uint32_t crc) {
  const char* p = bytes.data();
  std::size_t n = bytes.size();
  crc = ~crc;
  for (; n >= 8; p += 8, n -= 8) {
    std::uint64_t word;
    std::memcpy(&word, p, 8);
    word ^= crc;
    crc = 0;
    for (std::size_t k = 0; k < 8; ++k) crc ^= table[7 - k][(word >> (8 * k)) & 255];
  }
  for (; n > 0; ++p, --n) crc = (crc >> 8) ^ table[0][(crc ^ static_cast<unsigned char>(*p)) & 255];
  return ~crc;
}

}  // namespace skymm
