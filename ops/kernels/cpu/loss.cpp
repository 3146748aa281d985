// Softmax, cross-entropy, and reductions over all elements or along rows.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/kernels/cpu/loss.cpp"
#include <cmath>

#include "hwy/foreach_target.h"  // before highway.h
#include "ops/kernels/cpu/arguments.hpp"
#include "ops/kernels/cpu/backend.hpp"
#include "ops/kernels/cpu/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace skymm::HWY_NAMESPACE {
namespace {

// The largest of a row and the sum of exp(x - largest), in one pass over memory: the row in pieces that stay in the
// first-level cache, the sum so far rescaled where a piece raises the maximum.
struct ExpSum {
  float max, sum;
};
template <class T>
HWY_INLINE ExpSum exp_sum(const T* row, std::int64_t n) {
  constexpr std::int64_t piece = 2048;
  ExpSum all{-HUGE_VALF, 0};
  for (std::int64_t i = 0; i < n; i += piece) {
    const std::int64_t count = std::min(piece, n - i);
    const T* x = row + i;
    const float max = row_max<false>(x, count);
    if (max == -HUGE_VALF) {  // nothing but that, or NaN
      all.sum += row_sum(count, [=](auto at) {
        const V v = at.get(x);
        return hn::IfThenZeroElse(hn::Eq(v, set(-HUGE_VALF)), v);
      });
      continue;
    }
    if (max > all.max) {
      all.sum *= std::exp(all.max - max);
      all.max = max;
    }
    all.sum += row_sum(count, [=, m = all.max](auto at) { return at.keep(exp(hn::Sub(at.get(x), set(m))), 0); });
  }
  return all;
}

void softmax(const Tensor& x_, const Tensor& y_) {
  visit_floating(x_.dtype(), [&]<class T>(T) {
    const Rows<T> xs(x_), ys(y_);
    const std::int64_t width = width_of(x_);
    parallel_pieces(rows_of(x_), 2 * width, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        const T* x = xs[t];
        T* y = ys[t];
        const ExpSum all = exp_sum(x, width);
        const float inv = 1 / all.sum;
        each(width, [=](auto at) { at.put(y, hn::Mul(exp(hn::Sub(at.get(x), set(all.max))), set(inv))); });
      }
    });
  });
}

void softmax_gradient(const Tensor& y_, const Tensor& dy_, const Tensor& dx_) {
  visit_floating(y_.dtype(), [&]<class T>(T) {
    const Rows<T> ys(y_), dys(dy_), dxs(dx_);
    const std::int64_t width = width_of(y_);
    parallel_pieces(rows_of(y_), 2 * width, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        const T *y = ys[t], *dy = dys[t];
        T* dx = dxs[t];
        const float along = row_sum(width, [=](auto at) { return hn::Mul(at.get(y), at.get(dy)); });
        each(width, [=](auto at) { at.put(dx, hn::Mul(at.get(y), hn::Sub(at.get(dy), set(along)))); });
      }
    });
  });
}

void cross_entropy(const Tensor& logits_, const Tensor& labels_, const Tensor& losses_, const Tensor& logsumexp_) {
  visit_floating(logits_.dtype(), [&]<class T>(T) {
    const Rows<T> logits(logits_);
    const auto* labels = labels_.data<std::int32_t>();
    float *losses = losses_.data<float>(), *logsumexp = logsumexp_.data<float>();
    const std::int64_t width = width_of(logits_);
    parallel_pieces(rows_of(logits_), 2 * width, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        const ExpSum all = exp_sum(logits[t], width);
        const float total = std::log(all.sum);
        logsumexp[t] = all.max + total;
        losses[t] = labels[t] < 0 ? 0 : (all.max - static_cast<float>(logits[t][labels[t]])) + total;
      }
    });
  });
}

void cross_entropy_gradient(const Tensor& logits_, const Tensor& labels_, const Tensor& logsumexp_, float scale,
                            const Tensor& dlogits_) {
  visit_floating(logits_.dtype(), [&]<class T>(T) {
    const Rows<T> logits(logits_), dlogits(dlogits_);
    const auto* labels = labels_.data<std::int32_t>();
    const float* logsumexp = logsumexp_.data<float>();
    const std::int64_t width = width_of(logits_);
    parallel_pieces(rows_of(logits_), 2 * width, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        const T* x = logits[t];
        T* dx = dlogits[t];
        const std::int32_t label = labels[t];
        if (label < 0) {
          each(width, [=](auto at) { at.put(dx, zero()); });
          continue;
        }
        const float at_label = std::exp(static_cast<float>(x[label]) - logsumexp[t]);
        const V shift = set(logsumexp[t]);
        each(width, [=](auto at) { at.put(dx, hn::Mul(exp(hn::Sub(at.get(x), shift)), set(scale))); });
        dx[label] = T(scale * (at_label - 1));
      }
    });
  });
}

void argmax(const Tensor& x_, const Tensor& best_) {
  visit_floating(x_.dtype(), [&]<class T>(T) {
    const Rows<T> xs(x_);
    auto* best = best_.data<std::int32_t>();
    const std::int64_t width = width_of(x_);
    parallel_pieces(rows_of(x_), width, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        const T* x = xs[t];
        const float max = row_max<true>(x, width);
        const Mask wants_nan = hn::RebindMask(f32, hn::IsNaN(set(max)));
        best[t] = 0;
        for (std::int64_t i = 0; i < width; i += lanes) {
          const std::int64_t count = std::min(lanes, width - i);
          const V v = count == lanes ? load(x + i) : Part{i, count}.get(x);
          const Mask hit = hn::Or(hn::Eq(v, set(max)), hn::And(wants_nan, hn::IsNaN(v)));
          const std::int64_t found = hn::FindFirstTrue(f32, hit);
          if (found >= 0) {
            best[t] = static_cast<std::int32_t>(i + found);
            break;
          }
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

HWY_EXPORT(softmax);
HWY_EXPORT(softmax_gradient);
HWY_EXPORT(cross_entropy);
HWY_EXPORT(cross_entropy_gradient);
HWY_EXPORT(argmax);

namespace {

// Within work: labels are known only when it runs.
void check_labels(const char* primitive, const Tensor& labels, std::int64_t classes) {
  const auto* label = labels.data<std::int32_t>();
  for (std::int64_t t = 0; t < labels.numel(); ++t) {
    if (label[t] >= classes) fail("{}: labels[{}] = {}, but there are {} logits", primitive, t, label[t], classes);
  }
}

}  // namespace

void CpuKernels::softmax(const Tensor& x, Tensor y) {
  check_softmax(x, y);
  launch(x, [=] { HWY_DYNAMIC_DISPATCH(softmax)(x, y); });
}

void CpuKernels::softmax_gradient(const Tensor& y, const Tensor& dy, Tensor dx) {
  check_softmax_gradient(y, dy, dx);
  launch(y, [=] { HWY_DYNAMIC_DISPATCH(softmax_gradient)(y, dy, dx); });
}

void CpuKernels::cross_entropy(const Tensor& logits, const Tensor& labels, Tensor losses, Tensor logsumexp) {
  check_cross_entropy(logits, labels, losses, logsumexp);
  launch(logits, [=] {
    check_labels("cross_entropy", labels, width_of(logits));
    HWY_DYNAMIC_DISPATCH(cross_entropy)(logits, labels, losses, logsumexp);
  });
}

void CpuKernels::cross_entropy_gradient(const Tensor& logits, const Tensor& labels, const Tensor& logsumexp,
                                        float scale, Tensor dlogits) {
  check_cross_entropy_gradient(logits, labels, logsumexp, dlogits);
  launch(logits, [=] {
    check_labels("cross_entropy_gradient", labels, width_of(logits));
    HWY_DYNAMIC_DISPATCH(cross_entropy_gradient)(logits, labels, logsumexp, scale, dlogits);
  });
}

void CpuKernels::argmax(const Tensor& x, Tensor best) {
  check_argmax(x, best);
  launch(x, [=] { HWY_DYNAMIC_DISPATCH(argmax)(x, best); });
}

}  // namespace skymm
#endif
