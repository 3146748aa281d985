// Tiles of f32 in cache, for kernels compiled once per instruction set (include after foreach_target.h).
// Tiles are row-major; their rows are padded to whole vectors and start aligned.
#include <hwy/highway.h>

#include <cstdint>

#include "core/dtype.hpp"

#if defined(SKYMM_TILE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SKYMM_TILE_INL_H
#undef SKYMM_TILE_INL_H
#else
#define SKYMM_TILE_INL_H
#endif

HWY_BEFORE_NAMESPACE();
namespace skymm {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F32 = hn::ScalableTag<float>;
using Vec = hn::Vec<F32>;

// Lanes of a vector: a constant for each instruction set of x86.
HWY_INLINE std::int64_t lanes() { return static_cast<std::int64_t>(hn::Lanes(F32())); }

// Register block of the product: with its operands it fills the 32 (AVX-512) or 16 registers.
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
constexpr int block_rows = 6, block_vectors = 4;
#else
constexpr int block_rows = 4, block_vectors = 2;
#endif

HWY_INLINE Vec load(const float* p) { return hn::LoadU(F32(), p); }
HWY_INLINE Vec load(const BFloat16* p) {
  const F32 d;
  const hn::Rebind<std::uint16_t, F32> d16;
  const hn::RebindToUnsigned<F32> d32;
  const auto bits = hn::PromoteTo(d32, hn::LoadU(d16, reinterpret_cast<const std::uint16_t*>(p)));
  return hn::BitCast(d, hn::ShiftLeft<16>(bits));
}

HWY_INLINE void store(Vec x, float* p) { hn::StoreU(x, F32(), p); }
// Rounds to nearest even; keeps NaN a NaN.
HWY_INLINE void store(Vec x, BFloat16* p) {
  const hn::Rebind<std::uint16_t, F32> d16;
  const hn::RebindToUnsigned<F32> d32;
  const hn::RebindToSigned<F32> di32;
  const auto bits = hn::BitCast(d32, x);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d32, 1));
  const auto rounded = hn::ShiftRight<16>(hn::Add(hn::Add(bits, hn::Set(d32, 0x7fff)), odd));
  const auto quiet = hn::Or(hn::ShiftRight<16>(bits), hn::Set(d32, 0x40));
  const auto is_nan = hn::RebindMask(d32, hn::IsNaN(x));
  const auto half = hn::DemoteTo(d16, hn::BitCast(di32, hn::IfThenElse(is_nan, quiet, rounded)));
  hn::StoreU(half, d16, reinterpret_cast<std::uint16_t*>(p));
}

// e^x to 2 units in the last place; 0 below -87.3, where the result would be denormal.
HWY_INLINE Vec exp(Vec x) {
  const F32 d;
  const hn::RebindToSigned<F32> di;
  const Vec clamped = hn::Max(hn::Set(d, -88.0F), x);  // in this order NaN stays NaN
  const Vec n = hn::Round(hn::Mul(clamped, hn::Set(d, 1.44269504088896341F)));
  Vec r = hn::NegMulAdd(n, hn::Set(d, 0.693359375F), clamped);  // ln 2 in two parts
  r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4F), r);
  Vec p = hn::Set(d, 1.0F / 5040);
  p = hn::MulAdd(p, r, hn::Set(d, 1.0F / 720));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0F / 120));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0F / 24));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0F / 6));
  p = hn::MulAdd(p, r, hn::Set(d, 0.5F));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0F));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0F));
  const auto power = hn::ShiftLeft<23>(hn::ConvertTo(di, hn::Add(n, hn::Set(d, 127.0F))));
  const Vec value = hn::Mul(p, hn::BitCast(d, power));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -87.3F)), value);
}

// to[r] = scale from[r], n elements, zeros up to `padded`, for the rows given by from(r).
template <class T, class RowOf>
HWY_INLINE void load_rows(std::int64_t rows, std::int64_t n, std::int64_t padded, float scale, RowOf from, float* to) {
  const F32 d;
  const std::int64_t whole = n / lanes() * lanes();
  const Vec factor = hn::Set(d, scale);
  for (std::int64_t r = 0; r < rows; ++r, to += padded) {
    const T* row = from(r);
    for (std::int64_t i = 0; i < whole; i += lanes()) hn::StoreU(hn::Mul(factor, load(row + i)), d, to + i);
    for (std::int64_t i = whole; i < n; ++i) to[i] = scale * static_cast<float>(row[i]);
    for (std::int64_t i = n; i < padded; ++i) to[i] = 0;
  }
}

// to[r] = scale from[r], n elements.
template <class T>
HWY_INLINE void store_row(const float* from, std::int64_t n, float scale, T* to) {
  const std::int64_t whole = n / lanes() * lanes();
  const Vec factor = hn::Set(F32(), scale);
  for (std::int64_t i = 0; i < whole; i += lanes()) store(hn::Mul(factor, load(from + i)), to + i);
  for (std::int64_t i = whole; i < n; ++i) to[i] = static_cast<T>(scale * from[i]);
}

// to [cols, rows_padded] = from [rows, cols] transposed; the padding is zero. Four by four in registers.
HWY_INLINE void transpose(const float* from, std::int64_t from_step, std::int64_t rows, std::int64_t cols, float* to,
                          std::int64_t rows_padded) {
  const hn::Full128<float> d;
  const std::int64_t whole_rows = rows / 4 * 4, whole_cols = cols / 4 * 4;
  for (std::int64_t r = 0; r < whole_rows; r += 4) {
    for (std::int64_t c = 0; c < whole_cols; c += 4) {
      const float* p = from + r * from_step + c;
      const auto a = hn::LoadU(d, p), b = hn::LoadU(d, p + from_step);
      const auto e = hn::LoadU(d, p + 2 * from_step), f = hn::LoadU(d, p + 3 * from_step);
      const hn::Repartition<double, decltype(d)> dd;
      const auto ab_low = hn::BitCast(dd, hn::InterleaveLower(d, a, b));
      const auto ab_high = hn::BitCast(dd, hn::InterleaveUpper(d, a, b));
      const auto ef_low = hn::BitCast(dd, hn::InterleaveLower(d, e, f));
      const auto ef_high = hn::BitCast(dd, hn::InterleaveUpper(d, e, f));
      float* q = to + c * rows_padded + r;
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(dd, ab_low, ef_low)), d, q);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(dd, ab_low, ef_low)), d, q + rows_padded);
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(dd, ab_high, ef_high)), d, q + 2 * rows_padded);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(dd, ab_high, ef_high)), d, q + 3 * rows_padded);
    }
    for (std::int64_t c = whole_cols; c < cols; ++c) {
      for (int i = 0; i < 4; ++i) to[c * rows_padded + r + i] = from[(r + i) * from_step + c];
    }
  }
  for (std::int64_t c = 0; c < cols; ++c) {
    for (std::int64_t r = whole_rows; r < rows; ++r) to[c * rows_padded + r] = from[r * from_step + c];
    for (std::int64_t r = rows; r < rows_padded; ++r) to[c * rows_padded + r] = 0;
  }
}

// The left operand of a product: element (m, k) is data[m row_step + k k_step], so it may be a transposed tile.
struct Left {
  const float* data;
  std::int64_t row_step, k_step;
};

template <int M, int N, bool kAccumulate>
HWY_INLINE void multiply_block(Left a, const float* HWY_RESTRICT b, std::int64_t b_step, float* HWY_RESTRICT c,
                               std::int64_t c_step, std::int64_t k) {
  const F32 d;
  const std::int64_t v = lanes();
  Vec sum[M][N];
  for (int m = 0; m < M; ++m) {
    for (int n = 0; n < N; ++n) sum[m][n] = kAccumulate ? hn::LoadU(d, c + m * c_step + n * v) : hn::Zero(d);
  }
  const float* left = a.data;
  for (std::int64_t i = 0; i < k; ++i, left += a.k_step, b += b_step) {
    Vec right[N];
    for (int n = 0; n < N; ++n) right[n] = hn::LoadU(d, b + n * v);
    for (int m = 0; m < M; ++m) {
      const Vec x = hn::Set(d, left[m * a.row_step]);
      for (int n = 0; n < N; ++n) sum[m][n] = hn::MulAdd(x, right[n], sum[m][n]);
    }
  }
  for (int m = 0; m < M; ++m) {
    for (int n = 0; n < N; ++n) hn::StoreU(sum[m][n], d, c + m * c_step + n * v);
  }
}

template <int M, bool kAccumulate>
HWY_INLINE void multiply_rows(Left a, const float* b, std::int64_t b_step, float* c, std::int64_t c_step,
                              std::int64_t vectors, std::int64_t k) {
  static_assert(block_vectors <= 4);
  if (vectors == 1) return multiply_block<M, 1, kAccumulate>(a, b, b_step, c, c_step, k);
  if (vectors == 2) return multiply_block<M, 2, kAccumulate>(a, b, b_step, c, c_step, k);
  if constexpr (block_vectors > 2) {
    if (vectors == 3) return multiply_block<M, 3, kAccumulate>(a, b, b_step, c, c_step, k);
    return multiply_block<M, 4, kAccumulate>(a, b, b_step, c, c_step, k);
  }
}

// c [rows, columns] = a b (+ c): a [rows, k], b [k, columns]; columns a multiple of the lanes.
template <bool kAccumulate>
HWY_NOINLINE void multiply_tile(Left a, const float* b, std::int64_t b_step, float* c, std::int64_t c_step,
                                std::int64_t rows, std::int64_t columns, std::int64_t k) {
  const std::int64_t vectors = columns / lanes();
  const std::int64_t panels = (vectors + block_vectors - 1) / block_vectors;
  for (std::int64_t panel = 0; panel < panels; ++panel) {
    const std::int64_t first = vectors * panel / panels, last = vectors * (panel + 1) / panels;
    const float* right = b + first * lanes();
    float* sum = c + first * lanes();
    Left left = a;
    std::int64_t row = 0;
    for (; row + block_rows <= rows; row += block_rows) {
      multiply_rows<block_rows, kAccumulate>(left, right, b_step, sum, c_step, last - first, k);
      left.data += block_rows * a.row_step;
      sum += block_rows * c_step;
    }
    for (; row + 2 <= rows; row += 2) {
      multiply_rows<2, kAccumulate>(left, right, b_step, sum, c_step, last - first, k);
      left.data += 2 * a.row_step;
      sum += 2 * c_step;
    }
    if (row < rows) multiply_rows<1, kAccumulate>(left, right, b_step, sum, c_step, last - first, k);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace skymm
HWY_AFTER_NAMESPACE();

#endif
