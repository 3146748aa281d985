// CRC-32C (Castagnoli polynomial, RFC 3720 appendix B.4): the checksum of data sets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace skymm {

// The checksum of `bytes`, continued from `crc`, the checksum of what came before (0 at the start).
std::uint32_t crc32c(std::string_view bytes, std::uint32_t crc = 0);

}  // namespace skymm
