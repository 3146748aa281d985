// Inverted dropout with Philox words, bit by bit those of core/random.hpp.
#include <cmath>

#include "ops/kernels/checks.hpp"
#include "ops/kernels/cuda/backend.hpp"
#include "ops/kernels/cuda/rows.hpp"

namespace skymm::cuda {
namespace {

constexpr int threads = 256;

__device__ __forceinline__ uint4 philox(std::uint64_t key, uint4 c) {
  auto k0 = static_cast<unsigned>(key), k1 = static_cast<unsigned>(key >> 32);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    constexpr unsigned m0 = 0xD2511F53U, m1 = 0xCD9E8D57U;
    c = make_uint4(__umulhi(m1, c.z) ^ c.y ^ k0, m1 * c.z, __umulhi(m0, c.x) ^ c.w ^ k1, m0 * c.x);
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
  return c;
}

// A thread has four adjacent columns, whose words are in one or two blocks of four.
template <class T>
__global__ void __launch_bounds__(threads)
    dropout_kernel(DeviceRows<T> x, const std::int32_t* row_ids, RandomKey key, unsigned keep_from, float scale,
                   DeviceRows<T> y, std::int64_t rows, int width) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x, quads = (width + 3) / 4;
  const std::int64_t row = i / quads;
  if (row >= rows) return;
  const int column = static_cast<int>(i % quads) * 4;
  const auto position = static_cast<unsigned>(row_ids[2 * row]), token = static_cast<unsigned>(row_ids[2 * row + 1]);
  const unsigned first = token * static_cast<unsigned>(width) + static_cast<unsigned>(column);
  uint4 block{};
  for (unsigned k = 0; k < 4 && column + static_cast<int>(k) < width; ++k) {
    const unsigned element = first + k;
    if (k == 0 || element % 4 == 0)
      block = philox(key.seed, make_uint4(key.step, position, key.operation, element / 4));
    const unsigned words[4] = {block.x, block.y, block.z, block.w};
    unsigned word = words[0];
#pragma unroll
    for (unsigned w = 1; w < 4; ++w) word = element % 4 == w ? words[w] : word;  // no indexed registers
    const T value = x[row][column + static_cast<int>(k)];
    y[row][column + static_cast<int>(k)] = from_float<T>(word >> 8 < keep_from ? 0.0F : to_float(value) * scale);
  }
}

}  // namespace

void CudaKernels::dropout(const Tensor& x, float p, const RandomKey& key, const Tensor& row_ids, Tensor y) {
  check_dropout(x, p, row_ids, y);
  if (x.numel() == 0) return;
  // uniform(word) >= p where the word's upper 24 bits are at least p 2^24
  const auto keep_from = static_cast<unsigned>(std::ceil(static_cast<double>(p) * 0x1p24));
  visit_dtype_of(x, [&]<class T>(T) {
    const std::int64_t rows = rows_of(x), width = width_of(x);
    launch(dropout_kernel<T>, blocks_for(rows * blocks_for(width, 4), threads), threads, 0, stream_of(x),
           DeviceRows<T>(x), pointer<std::int32_t>(row_ids), key, keep_from, 1 / (1 - p), DeviceRows<T>(y), rows,
           static_cast<int>(width));
  });
}

}  // namespace skymm::cuda
