// Sums over all elements, the search for what is not finite, and AdamW.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/kernels/cpu/optimizer.cpp"
#include <atomic>
#include <cmath>
#include <numeric>
#include <vector>

#include "hwy/foreach_target.h"  // before highway.h
#include "ops/kernels/cpu/arguments.hpp"
#include "ops/kernels/cpu/backend.hpp"
#include "ops/kernels/cpu/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace skymm::HWY_NAMESPACE {
namespace {

constexpr hn::ScalableTag<double> f64;
constexpr hn::Rebind<float, decltype(f64)> half_f32;

// The sum of f(x) in f64 over at most one block of elements.
template <class T, class F>
HWY_INLINE double block_sum(const T* x, std::int64_t n, const F& f) {
  auto low = hn::Zero(f64), high = low;
  each(n, [&](auto at) {
    const V v = at.get(x);
    low = hn::Add(low, f(hn::PromoteTo(f64, hn::LowerHalf(half_f32, v))));
    high = hn::Add(high, f(hn::PromoteTo(f64, hn::UpperHalf(half_f32, v))));
  });
  return hn::GetLane(hn::SumOfLanes(f64, hn::Add(low, high)));
}

// Blocks are summed in order, so that the sum is the same for any number of threads.
template <class F>
void sum_by_blocks(const Tensor& x_, const Tensor& out, const F& f) {
  visit_floating(x_.dtype(), [&]<class T>(T) {
    constexpr std::int64_t block = 4096;
    const T* x = x_.data<T>();
    const std::int64_t n = x_.numel();
    std::vector<double> sums((n + block - 1) / block);
    parallel_pieces(static_cast<std::int64_t>(sums.size()), block, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t b = begin; b < end; ++b) {
        sums[b] = block_sum(x + b * block, std::min(block, n - b * block), f);
      }
    });
    out.data<double>()[0] = std::accumulate(sums.begin(), sums.end(), 0.0);
  });
}

void sum(const Tensor& x, const Tensor& out) {
  sum_by_blocks(x, out, [](auto v) { return v; });
}

void sum_of_squares(const Tensor& x, const Tensor& out) {
  sum_by_blocks(x, out, [](auto v) { return hn::Mul(v, v); });
}

void count_non_finite(const Tensor& x_, const Tensor& count) {
  visit_floating(x_.dtype(), [&]<class T>(T) {
    constexpr U32 u32;
    constexpr std::int64_t unit = 1024;
    const T* x = x_.data<T>();
    const std::int64_t n = x_.numel();
    std::atomic<std::int64_t> total = 0;
    parallel_pieces((n + unit - 1) / unit, unit, [&](std::int64_t begin, std::int64_t end) {
      const auto exponent = hn::Set(u32, 0x7f800000U);
      std::int64_t found = 0;
      each(begin * unit, std::min(n, end * unit), [&](auto at) {
        const auto bits = hn::And(hn::BitCast(u32, at.get(x)), exponent);
        found += static_cast<std::int64_t>(hn::CountTrue(u32, hn::Eq(bits, exponent)));
      });
      total += found;
    });
    count.data<std::int32_t>()[0] = static_cast<std::int32_t>(total);
  });
}

void adamw(const AdamWTensors& tensors, const AdamW& options) {
  const auto correction = [&](float beta) {
    return static_cast<float>(1 / (1 - std::pow(static_cast<double>(beta), static_cast<double>(options.step))));
  };
  const float correct1 = correction(options.beta1), correct2 = correction(options.beta2);
  const float weight_decay = tensors.decays ? options.weight_decay : 0.0F;
  float *master = tensors.master.data<float>(), *m = tensors.m.data<float>(), *v = tensors.v.data<float>();
  const float* gradient = tensors.gradient.data<float>();
  const bool has_value = tensors.value.defined();
  visit_floating(has_value ? tensors.value.dtype() : DType::f32, [&]<class T>(T) {
    constexpr std::int64_t unit = 1024;
    T* value = has_value ? tensors.value.data<T>() : nullptr;
    const std::int64_t n = tensors.master.numel();
    parallel_pieces((n + unit - 1) / unit, 4 * unit, [=](std::int64_t begin, std::int64_t end) {
      each(begin * unit, std::min(n, end * unit), [=](auto at) {
        const V g = hn::Mul(at.get(gradient), set(options.gradient_scale));
        const V first = hn::MulAdd(at.get(m), set(options.beta1), hn::Mul(g, set(1 - options.beta1)));
        const V second = hn::MulAdd(at.get(v), set(options.beta2), hn::Mul(hn::Mul(g, g), set(1 - options.beta2)));
        at.put(m, first);
        at.put(v, second);
        const V root = hn::Add(hn::Sqrt(hn::Mul(second, set(correct2))), set(options.epsilon));
        const V old = at.get(master);
        const V step = hn::MulAdd(old, set(weight_decay), hn::Div(hn::Mul(first, set(correct1)), root));
        const V fresh = hn::NegMulAdd(step, set(options.learning_rate), old);
        at.put(master, fresh);
        if (value != nullptr) at.put(value, fresh);
      });
    });
  });
}

}  // namespace
}  // namespace skymm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skymm {

HWY_EXPORT(sum);
HWY_EXPORT(sum_of_squares);
HWY_EXPORT(count_non_finite);
HWY_EXPORT(adamw);

// Blocks are of elements in row-major order: rows with gaps are copied together first.

void CpuKernels::sum(const Tensor& x, Tensor out) {
  check_sum(x, out);
  launch(x, [=, dense = x.contiguous()] { HWY_DYNAMIC_DISPATCH(sum)(dense, out); });
}

void CpuKernels::sum_of_squares(std::span<const Tensor> xs, std::span<const Tensor> outs) {
  check_sum_of_squares(xs, outs);
  for (std::size_t i = 0; i < xs.size(); ++i) {
    launch(xs[i], [dense = xs[i].contiguous(), out = outs[i]] { HWY_DYNAMIC_DISPATCH(sum_of_squares)(dense, out); });
  }
}

void CpuKernels::count_non_finite(const Tensor& x, Tensor count) {
  check_count_non_finite(x, count);
  launch(x, [=, dense = x.contiguous()] { HWY_DYNAMIC_DISPATCH(count_non_finite)(dense, count); });
}

void CpuKernels::adamw(std::span<const AdamWTensors> tensors, const AdamW& options) {
  check_adamw(tensors, options);
  for (const AdamWTensors& one : tensors) {
    launch(one.master, [=] { HWY_DYNAMIC_DISPATCH(adamw)(one, options); });
  }
}

}  // namespace skymm
#endif
