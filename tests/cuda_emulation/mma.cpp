#include <bit>
#include <cstring>

#include "cuda_emulation/emulation.hpp"

namespace skymm::cuda_emulation {

// Most of what matrix kernels cost here, and nothing of the kernel's: this file is compiled without sanitizers.
void add_product(float (&c)[4], const Rendezvous& all, unsigned lane) {
  const auto half = [](unsigned two, int i) { return std::bit_cast<float>(i == 0 ? two << 16 : two & 0xffff0000U); };
  const unsigned group = lane / 4, pair = lane % 4 * 2;
  float rows[2][16], columns[2][16];  // those of A and B that meet in this lane's elements of C
  for (unsigned quad = 0; quad < 4; ++quad) {
    Fragment of_row, of_column[2];
    std::memcpy(&of_row, all.data[group * 4 + quad], sizeof(Fragment));
    for (unsigned i = 0; i < 2; ++i) std::memcpy(&of_column[i], all.data[(pair + i) * 4 + quad], sizeof(Fragment));
    for (unsigned upper = 0; upper < 2; ++upper) {
      for (int i = 0; i < 2; ++i) {
        const unsigned k = upper * 8 + quad * 2 + static_cast<unsigned>(i);
        rows[0][k] = half(of_row.a[upper * 2], i);
        rows[1][k] = half(of_row.a[upper * 2 + 1], i);
        columns[0][k] = half(of_column[0].b[upper], i);
        columns[1][k] = half(of_column[1].b[upper], i);
      }
    }
  }
  for (int i = 0; i < 4; ++i) {
    float sum = 0;
    for (int k = 0; k < 16; ++k) sum += rows[i / 2][k] * columns[i % 2][k];
    c[i] += sum;
  }
}

}  // namespace skymm::cuda_emulation
