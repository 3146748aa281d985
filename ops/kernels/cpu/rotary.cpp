// Rotary position embedding. Angles are counted in turns, in double precision, so that a long text's last positions
// are as exact as its first.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/kernels/cpu/rotary.cpp"
#include <cmath>
#include <memory>
#include <numbers>
#include <utility>
#include <vector>

#include "hwy/foreach_target.h"  // before highway.h
#include "ops/kernels/cpu/arguments.hpp"
#include "ops/kernels/cpu/backend.hpp"
#include "ops/kernels/cpu/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace skymm::HWY_NAMESPACE {
namespace {

// sine, cosine [pairs, filled up] of the angles at `position`
void angles(const std::vector<double>& turns, double position, float* sine, float* cosine) {
  constexpr hn::ScalableTag<double> f64;
  constexpr hn::Rebind<float, decltype(f64)> half;
  const std::size_t n = turns.size();
  for (std::size_t j = 0; j < n; j += hn::Lanes(f64)) {
    const auto turn = hn::Mul(hn::LoadU(f64, &turns[j]), hn::Set(f64, position));
    hn::StoreU(hn::DemoteTo(half, hn::Sub(turn, hn::Round(turn))), half, sine + j);
  }
  for (std::size_t j = 0; j < n; j += lanes) {
    V s, c;
    sin_cos(load(sine + j), s, c);
    store(s, sine + j);
    store(c, cosine + j);
  }
}

void rotary_embedding(const Tensor& x_, const Tensor& positions_, const std::vector<double>& turns, bool inverse,
                      const Tensor& y_) {
  visit_floating(x_.dtype(), [&]<class T>(T) {
    const std::int64_t heads = x_.dim(1), pairs = x_.dim(2) / 2;
    const T* xs = x_.data<T>();
    T* ys = y_.data<T>();
    const auto* positions = positions_.data<std::int32_t>();
    parallel_pieces(x_.dim(0), x_.dim(1) * x_.dim(2), [&](std::int64_t begin, std::int64_t end) {
      std::vector<float> sine(turns.size()), cosine(turns.size());
      for (std::int64_t t = begin; t < end; ++t) {
        angles(turns, inverse ? -positions[t] : positions[t], sine.data(), cosine.data());
        for (std::int64_t head = 0; head < heads; ++head) {
          const T* x = xs + t * x_.stride(0) + head * x_.stride(1);
          T* y = ys + t * y_.stride(0) + head * y_.stride(1);
          each(pairs, [&](auto at) {
            const V a = at.get(x), b = at.get(x + pairs), s = at.get(sine.data()), c = at.get(cosine.data());
            at.put(y, hn::NegMulAdd(b, s, hn::Mul(a, c)));
            at.put(y + pairs, hn::MulAdd(a, s, hn::Mul(b, c)));
          });
        }
      }
    });
  });
}

}  // namespace
}  // namespace skymm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skymm {

HWY_EXPORT(rotary_embedding);

namespace {

using Turns = std::shared_ptr<const std::vector<double>>;

// Turns a position of each pair of a head, filled up with zeros to a multiple of 16. All layers of a model ask for the
// same ones, which are kept.
Turns turns_per_position(std::int64_t pairs, float theta) {
  thread_local Turns kept;
  thread_local std::pair<std::int64_t, float> of;
  if (kept != nullptr && of == std::pair(pairs, theta)) return kept;
  std::vector<double> turns((static_cast<std::size_t>(pairs) + 15) / 16 * 16);
  for (std::int64_t j = 0; j < pairs; ++j) {
    turns[j] = std::pow(static_cast<double>(theta), -static_cast<double>(j) / static_cast<double>(pairs)) /
               (2 * std::numbers::pi);
  }
  of = {pairs, theta};
  return kept = std::make_shared<const std::vector<double>>(std::move(turns));
}

}  // namespace

void CpuKernels::rotary_embedding(const Tensor& x, const Tensor& positions, float theta, bool inverse, Tensor y) {
  check_rotary_embedding(x, positions, y);
  launch(x, [=, turns = turns_per_position(x.dim(2) / 2, theta)] {
    HWY_DYNAMIC_DISPATCH(rotary_embedding)(x, positions, *turns, inverse, y);
  });
}

}  // namespace skymm
#endif
