// Inverted dropout with Philox words, bit by bit those of core/random.hpp.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/kernels/cpu/dropout.cpp"
#include <cmath>

#include "core/random.hpp"
#include "hwy/foreach_target.h"  // before highway.h
#include "ops/kernels/cpu/arguments.hpp"
#include "ops/kernels/cpu/backend.hpp"
#include "ops/kernels/cpu/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace skymm::HWY_NAMESPACE {
namespace {

constexpr hn::ScalableTag<std::uint64_t> u64;
using U64 = hn::Vec<decltype(u64)>;
constexpr std::int64_t blocks_at_once = hn::MaxLanes(u64);

// a * b of the lower halves; Philox's words are kept in them, the upper halves hold anything.
HWY_INLINE U64 wide_product(U64 a, U64 b) {
  constexpr hn::Repartition<std::uint32_t, decltype(u64)> u32;
  return hn::MulEven(hn::BitCast(u32, a), hn::BitCast(u32, b));
}

// words[4 i + w] = word w of philox(seed, {step, position, operation, first + i}), blocks_at_once blocks; the count of
// blocks wraps as that of elements does at 2^32.
HWY_INLINE void philox_words(const RandomKey& key, std::uint32_t position, std::uint32_t first, std::uint32_t* words) {
  const auto set64 = [](std::uint64_t x) { return hn::Set(u64, x); };
  const U64 m0 = set64(0xD2511F53), m1 = set64(0xCD9E8D57), low = set64(0xffffffff);
  U64 c0 = set64(key.step), c1 = set64(position), c2 = set64(key.operation);
  U64 c3 = hn::And(hn::Add(set64(first), hn::Iota(u64, 0)), set64(0x3fffffff));
  auto k0 = static_cast<std::uint32_t>(key.seed), k1 = static_cast<std::uint32_t>(key.seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const U64 a = wide_product(c0, m0), b = wide_product(c2, m1);
    c0 = hn::Xor(hn::Xor(hn::ShiftRight<32>(b), c1), set64(k0));
    c1 = b;
    c2 = hn::Xor(hn::Xor(hn::ShiftRight<32>(a), c3), set64(k1));
    c3 = a;
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
  const U64 front = hn::Or(hn::And(c0, low), hn::ShiftLeft<32>(c1));
  const U64 back = hn::Or(hn::And(c2, low), hn::ShiftLeft<32>(c3));
  alignas(64) std::uint64_t pairs[2 * blocks_at_once];
  hn::StoreInterleaved2(front, back, u64, pairs);
  std::memcpy(words, pairs, sizeof(pairs));
}

template <class T>
HWY_INLINE void dropout_row(const T* x, T* y, std::int64_t width, std::uint32_t keep_from, float scale,
                            const RandomKey& key, std::uint32_t position, std::uint32_t element) {
  constexpr U32 u32;
  constexpr std::int64_t piece = 1024;
  alignas(64) std::uint32_t words[piece + 4 * blocks_at_once + 4 + lanes];
  for (std::int64_t i = 0; i < width; i += piece, element += piece) {
    const std::int64_t count = std::min(piece, width - i), skip = element % 4;
    for (std::int64_t w = 0; w < skip + count; w += 4 * blocks_at_once) {
      philox_words(key, position, element / 4 + static_cast<std::uint32_t>(w / 4), words + w);
    }
    each(count, [&](auto at) {
      const auto fraction = hn::ShiftRight<8>(hn::LoadU(u32, words + skip + at.index));
      const auto dropped = hn::RebindMask(f32, hn::Lt(fraction, hn::Set(u32, keep_from)));
      at.put(y + i, hn::IfThenZeroElse(dropped, hn::Mul(at.get(x + i), set(scale))));
    });
  }
}

void dropout(const Tensor& x_, float p, const RandomKey& key, const Tensor& row_ids_, const Tensor& y_) {
  visit_floating(x_.dtype(), [&]<class T>(T) {
    const Rows<T> xs(x_), ys(y_);
    const auto* row_ids = row_ids_.data<std::int32_t>();
    const std::int64_t width = width_of(x_);
    // uniform(word) >= p where the word's upper 24 bits are at least p 2^24
    const auto keep_from = static_cast<std::uint32_t>(std::ceil(static_cast<double>(p) * 0x1p24));
    const float scale = 1 / (1 - p);
    parallel_pieces(rows_of(x_), 4 * width, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        const auto position = static_cast<std::uint32_t>(row_ids[2 * t]);
        const auto token = static_cast<std::uint32_t>(row_ids[2 * t + 1]);
        dropout_row(xs[t], ys[t], width, keep_from, scale, key, position, token * static_cast<std::uint32_t>(width));
      }
    });
  });
}

}  // namespace
}  // namespace skymm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skymm {

HWY_EXPORT(dropout);

void CpuKernels::dropout(const Tensor& x, float p, const RandomKey& key, const Tensor& row_ids, Tensor y) {
  check_dropout(x, p, row_ids, y);
  launch(x, [=] { HWY_DYNAMIC_DISPATCH(dropout)(x, p, key, row_ids, y); });
}

}  // namespace skymm
#endif
