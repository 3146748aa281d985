// Rows of f32 or bf16 as vectors of f32, compiled once for each instruction set (Highway's -inl scheme): loads and
// stores, loops over a row, and the functions that activations and softmax need.
#if defined(SKYMM_OPS_KERNELS_CPU_SIMD_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef SKYMM_OPS_KERNELS_CPU_SIMD_INL_HPP
#undef SKYMM_OPS_KERNELS_CPU_SIMD_INL_HPP
#else
#define SKYMM_OPS_KERNELS_CPU_SIMD_INL_HPP
#endif

#include <cstring>

#include "core/dtype.hpp"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace skymm::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using F32 = hn::ScalableTag<float>;
using U32 = hn::RebindToUnsigned<F32>;
using I32 = hn::RebindToSigned<F32>;
using U16 = hn::Rebind<std::uint16_t, F32>;
using V = hn::Vec<F32>;
using Mask = hn::Mask<F32>;

constexpr F32 f32;
constexpr std::int64_t lanes = hn::MaxLanes(F32{});

HWY_INLINE V set(float x) { return hn::Set(f32, x); }
HWY_INLINE V zero() { return hn::Zero(f32); }

HWY_INLINE V load(const float* from) { return hn::LoadU(f32, from); }
HWY_INLINE V load(const BFloat16* from) {
  const auto half = hn::LoadU(U16{}, reinterpret_cast<const std::uint16_t*>(from));
  return hn::BitCast(f32, hn::ShiftLeft<16>(hn::PromoteTo(U32{}, half)));
}

// As BFloat16's constructor: to nearest even, NaN stays NaN. The bits are in the upper halves of the lanes.
HWY_INLINE auto bf16_bits(V x) {
  constexpr U32 u32;
  const auto word = hn::BitCast(u32, x);
  const auto odd = hn::And(hn::ShiftRight<16>(word), hn::Set(u32, 1));
  const auto rounded = hn::Add(hn::Add(word, hn::Set(u32, 0x7fff)), odd);
  const auto quiet = hn::Or(word, hn::Set(u32, 0x400000));
  return hn::IfThenElse(hn::RebindMask(u32, hn::IsNaN(x)), quiet, rounded);
}

HWY_INLINE auto to_bf16(V x) {
  const auto bits = hn::ShiftRight<16>(bf16_bits(x));
#if HWY_TARGET <= HWY_AVX3
  return hn::TruncateTo(U16{}, bits);
#else
  return hn::DemoteTo(U16{}, hn::BitCast(I32{}, bits));
#endif
}

HWY_INLINE void store(V x, float* to) { hn::StoreU(x, f32, to); }
HWY_INLINE void store(V x, BFloat16* to) { hn::StoreU(to_bf16(x), U16{}, reinterpret_cast<std::uint16_t*>(to)); }

// x as it reads back after a store to T.
template <class T>
HWY_INLINE V rounded_to(V x) {
  if constexpr (std::is_same_v<T, float>) return x;
  return hn::BitCast(f32, hn::And(bf16_bits(x), hn::Set(U32{}, 0xffff0000U)));
}

// Where in a row a vector is: all lanes, or the last `count` elements of a row (loads then fill up with zeros).
struct Full {
  std::int64_t index;

  HWY_INLINE Full shifted(std::int64_t by) const { return {index + by}; }

  template <class T>
  HWY_INLINE V get(const T* row) const {
    return load(row + index);
  }
  template <class T>
  HWY_INLINE void put(T* row, V x) const {
    store(x, row + index);
  }
  HWY_INLINE V keep(V x, float) const { return x; }
};

struct Part {
  std::int64_t index, count;

  HWY_INLINE Part shifted(std::int64_t by) const { return {index + by, count}; }

  template <class T>
  HWY_INLINE V get(const T* row) const {
    alignas(64) T buffer[lanes] = {};
    std::memcpy(static_cast<void*>(buffer), row + index, count * sizeof(T));
    return load(buffer);
  }
  template <class T>
  HWY_INLINE void put(T* row, V x) const {
    alignas(64) T buffer[lanes];
    store(x, buffer);
    std::memcpy(static_cast<void*>(row + index), buffer, count * sizeof(T));
  }
  // x with `other` in the lanes behind the row's end
  HWY_INLINE V keep(V x, float other) const { return hn::IfThenElse(hn::FirstN(f32, count), x, set(other)); }
};

// f(at) for the vectors of [begin, end)
template <class F>
HWY_INLINE void each(std::int64_t begin, std::int64_t end, const F& f) {
  for (; begin + lanes <= end; begin += lanes) f(Full{begin});
  if (begin < end) f(Part{begin, end - begin});
}
template <class F>
HWY_INLINE void each(std::int64_t n, const F& f) {
  each(0, n, f);
}

// The sums of K quantities over a row: f(at, sums) adds the vectors at `at` to sums[0..K-1]. Four sets of sums hide
// the latency of an addition.
template <int K, class F>
HWY_INLINE void row_sums(std::int64_t n, float (&totals)[K], const F& f) {
  V a[K], b[K], c[K], d[K];
  for (int k = 0; k < K; ++k) a[k] = b[k] = c[k] = d[k] = zero();
  std::int64_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    f(Full{i}, a);
    f(Full{i + lanes}, b);
    f(Full{i + 2 * lanes}, c);
    f(Full{i + 3 * lanes}, d);
  }
  for (; i + lanes <= n; i += lanes) f(Full{i}, a);
  if (i < n) f(Part{i, n - i}, b);
  for (int k = 0; k < K; ++k) {
    totals[k] = hn::GetLane(hn::SumOfLanes(f32, hn::Add(hn::Add(a[k], b[k]), hn::Add(c[k], d[k]))));
  }
}

template <class F>
HWY_INLINE float row_sum(std::int64_t n, const F& f) {
  float total[1];
  row_sums<1>(n, total, [&](auto at, V* sums) { sums[0] = hn::Add(sums[0], f(at)); });
  return total[0];
}

// The largest of a row; one that is not a number gives NaN where `seek_nan`, and is passed over elsewhere.
template <bool seek_nan, class T>
HWY_INLINE float row_max(const T* row, std::int64_t n) {
  constexpr float lowest = -__builtin_huge_valf();
  V a = set(lowest), b = a, c = a, d = a;
  Mask nan = hn::IsNaN(a);
  const auto take = [&](V& best, V x) {
    if (seek_nan) nan = hn::Or(nan, hn::IsNaN(x));
    best = hn::Max(x, best);  // x86 gives the second argument where either is NaN
  };
  std::int64_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    take(a, load(row + i));
    take(b, load(row + i + lanes));
    take(c, load(row + i + 2 * lanes));
    take(d, load(row + i + 3 * lanes));
  }
  for (; i + lanes <= n; i += lanes) take(a, load(row + i));
  if (i < n) {
    const Part rest{i, n - i};
    take(b, rest.keep(rest.get(row), lowest));
  }
  if (seek_nan && !hn::AllFalse(f32, nan)) return __builtin_nanf("");
  return hn::GetLane(hn::MaxOfLanes(f32, hn::Max(hn::Max(a, b), hn::Max(c, d))));
}

// 1 / x for x in [1, 3e38]
HWY_INLINE V reciprocal(V x) {
#if HWY_TARGET <= \
    HWY_AVX3  // an estimate of 14 bits and one step of Newton's: cheaper than a division, as exact to 1e-7
  const V y = hn::ApproximateReciprocal(x);
  return hn::Mul(y, hn::NegMulAdd(x, y, set(2.0F)));
#else
  return hn::Div(set(1.0F), x);
#endif
}

// e^x to 1e-7: 2^n e^r with |r| <= ln(2) / 2 and a minimax polynomial for e^r. 0 below -87.7, at most 2.4e38 above
// 88.3; NaN stays.
HWY_INLINE V exp(V x) {
  constexpr float low = -88.02F, high = 88.37F;
  constexpr float biased_one = 12582912.0F + 127.0F;  // 1.5 2^23, where adding rounds to whole numbers, and 2^0's bits
  const V y = hn::Min(set(high), hn::Max(set(low), x));  // the constants first: NaN passes on x86
  const V biased = hn::MulAdd(y, set(1.44269504F), set(biased_one));
  const V n = hn::Sub(biased, set(biased_one));
  const V r = hn::NegMulAdd(n, set(-2.12194440e-4F), hn::NegMulAdd(n, set(0.693359375F), y));
  V p = set(1.373235901e-03F);
  p = hn::MulAdd(p, r, set(8.350521555e-03F));
  p = hn::MulAdd(p, r, set(4.167044236e-02F));
  p = hn::MulAdd(p, r, set(1.666669297e-01F));
  p = hn::MulAdd(p, r, set(5.000000054e-01F));
  p = hn::MulAdd(p, r, set(1.0F));
  p = hn::MulAdd(p, r, set(1.0F));
  const auto power = hn::ShiftLeft<23>(hn::BitCast(I32{}, biased));  // n = -127 gives zero
  return hn::Mul(p, hn::BitCast(f32, power));
}

HWY_INLINE V sigmoid(V x) { return reciprocal(hn::Add(set(1.0F), exp(hn::Neg(x)))); }

// sigmoid(x) and 1 - sigmoid(x), each to its own relative accuracy
struct Sigmoids {
  V value, complement;
};
HWY_INLINE Sigmoids sigmoids(V x) {
  const V e = exp(hn::Neg(x)), value = reciprocal(hn::Add(set(1.0F), e));
  return {value, hn::Mul(e, value)};
}

// The normal distribution: cdf(x) = (1 + erf(x / sqrt(2))) / 2 and density(x) = exp(-x^2 / 2) / sqrt(2 pi).
// For a = |x|: cdf(-a) = exp(-a^2 / 2) u P(u), u = 1 / (1 + 0.3 a), P a minimax polynomial of relative error 4e-9.
struct Normal {
  V cdf, density;
};
HWY_INLINE Normal normal(V x) {
  constexpr float coefficients[] = {-2.061286633e-02F, 1.123759664e-01F, -2.280679243e-01F, 1.915821979e-01F,
                                    -7.924772107e-02F, 9.605801418e-02F, 7.842552237e-02F,  1.102273349e-01F,
                                    1.195728400e-01F,  1.196866341e-01F};
  const V a = hn::Min(set(20.0F), hn::Abs(x));  // beyond, the tail is 0 in f32
  const V u = reciprocal(hn::MulAdd(a, set(0.3F), set(1.0F)));
  V p = set(coefficients[0]);
  for (std::size_t i = 1; i < sizeof(coefficients) / sizeof(float); ++i) p = hn::MulAdd(p, u, set(coefficients[i]));
  const V e = exp(hn::Mul(hn::Mul(a, a), set(-0.5F)));
  const V tail = hn::Mul(e, hn::Mul(p, u));
  return {hn::IfThenElse(hn::Lt(x, zero()), tail, hn::Sub(set(1.0F), tail)), hn::Mul(e, set(0.398942280F))};
}

// sin and cos of `turns` full turns, |turns| <= 1/2, to 1e-7 of one.
HWY_INLINE void sin_cos(V turns, V& sine, V& cosine) {
  const V quarters = hn::Mul(turns, set(4.0F));
  const V n = hn::Round(quarters);
  const V r = hn::Sub(quarters, n), z = hn::Mul(r, r);  // |r| <= 1/2 quarter
  V s = set(-4.601626078e-03F);
  s = hn::MulAdd(s, z, set(7.968002275e-02F));
  s = hn::MulAdd(s, z, set(-6.459634595e-01F));
  s = hn::Mul(hn::MulAdd(s, z, set(1.570796322e+00F)), r);
  V c = set(9.037603538e-04F);
  c = hn::MulAdd(c, z, set(-2.086016245e-02F));
  c = hn::MulAdd(c, z, set(2.536692256e-01F));
  c = hn::MulAdd(c, z, set(-1.233700543e+00F));
  c = hn::MulAdd(c, z, set(1.0F));
  const auto quadrant = hn::ConvertTo(I32{}, n);
  const auto bit = [&](auto q, int b) { return hn::RebindMask(f32, hn::TestBit(q, hn::Set(I32{}, b))); };
  const auto swap = bit(quadrant, 1);
  const V first = hn::IfThenElse(swap, c, s), second = hn::IfThenElse(swap, s, c);
  sine = hn::IfThenElse(bit(quadrant, 2), hn::Neg(first), first);
  cosine = hn::IfThenElse(bit(hn::Add(quadrant, hn::Set(I32{}, 1)), 2), hn::Neg(second), second);
}

}  // namespace
}  // namespace skymm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
