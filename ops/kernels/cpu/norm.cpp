// Layer norm, RMS norm and L2 normalisation. A row stays in the first-level cache between its passes.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/kernels/cpu/norm.cpp"
#include "hwy/foreach_target.h"  // before highway.h
#include "ops/kernels/cpu/arguments.hpp"
#include "ops/kernels/cpu/backend.hpp"
#include "ops/kernels/cpu/columns-inl.hpp"
#include "ops/kernels/cpu/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace skymm::HWY_NAMESPACE {
namespace {

template <class T>
const T* data_or_null(const Tensor& x) {
  return x.defined() ? x.data<T>() : nullptr;
}

void layer_norm(const Tensor& x_, const Tensor& weight_, const Tensor& bias_, float eps, const Tensor& y_,
                const Tensor& mean_, const Tensor& inv_std_) {
  visit_floating(x_.dtype(), [&]<class T>(T) {
    const Rows<T> xs(x_), ys(y_);
    const T *weight = data_or_null<T>(weight_), *bias = data_or_null<T>(bias_);
    float *means = mean_.data<float>(), *inv_stds = inv_std_.data<float>();
    const std::int64_t width = width_of(x_);
    parallel_pieces(rows_of(x_), width, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        const T* x = xs[t];
        T* y = ys[t];
        const float mean = row_sum(width, [=](auto at) { return at.get(x); }) / static_cast<float>(width);
        const float square = row_sum(width, [=](auto at) {
          const V centered = at.keep(hn::Sub(at.get(x), set(mean)), 0);
          return hn::Mul(centered, centered);
        });
        const float inv_std = 1 / std::sqrt(square / static_cast<float>(width) + eps);
        means[t] = mean;
        inv_stds[t] = inv_std;
        each(width, [=](auto at) {
          V v = hn::Mul(hn::Sub(at.get(x), set(mean)), set(inv_std));
          if (weight != nullptr) v = hn::Mul(v, at.get(weight));
          if (bias != nullptr) v = hn::Add(v, at.get(bias));
          at.put(y, v);
        });
      }
    });
  });
}

// With n = (x - mean) inv and g = dy weight: dx = inv (g - average(g) - n average(g n)). RMS norm has no mean and no
// average(g).
template <bool centered>
void norm_input_gradient(const Tensor& dy_, const Tensor& x_, const Tensor& weight_, const Tensor& mean_,
                         const Tensor& inv_, const Tensor& dx_, bool accumulate) {
  visit_floating(x_.dtype(), [&]<class T>(T) {
    const Rows<T> dys(dy_), xs(x_), dxs(dx_);
    const T* weight = data_or_null<T>(weight_);
    const float *means = data_or_null<float>(mean_), *invs = inv_.data<float>();
    const std::int64_t width = width_of(x_);
    parallel_pieces(rows_of(x_), 2 * width, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        const T *dy = dys[t], *x = xs[t];
        T* dx = dxs[t];
        const float mean = centered ? means[t] : 0, inv = invs[t];
        const auto normal = [=](auto at) { return hn::Mul(hn::Sub(at.get(x), set(mean)), set(inv)); };
        const auto g = [=](auto at) { return weight == nullptr ? at.get(dy) : hn::Mul(at.get(dy), at.get(weight)); };
        float sums[2];
        row_sums<2>(width, sums, [=](auto at, V* total) {
          const V value = g(at);
          if (centered) total[0] = hn::Add(total[0], value);
          total[1] = hn::MulAdd(value, normal(at), total[1]);
        });
        const V average = set(sums[0] / static_cast<float>(width)), along = set(sums[1] / static_cast<float>(width));
        each(width, [=](auto at) {
          V v = hn::Sub(g(at), average);
          v = hn::Mul(hn::NegMulAdd(normal(at), along, v), set(inv));
          at.put(dx, accumulate ? hn::Add(v, at.get(dx)) : v);
        });
      }
    });
  });
}

// dweight += sum of dy (x - mean) inv, dbias += sum of dy
template <bool centered>
void norm_weight_gradient(const Tensor& dy_, const Tensor& x_, const Tensor& mean_, const Tensor& inv_,
                          const Tensor& dweight, const Tensor& dbias) {
  visit_floating(x_.dtype(), [&]<class T>(T) {
    const Rows<T> dys(dy_), xs(x_);
    const float *means = data_or_null<float>(mean_), *invs = inv_.data<float>();
    const ColumnSpace space{.rows = rows_of(x_), .width = width_of(x_)};
    float* const out[] = {dweight.defined() ? dweight.data<float>() : nullptr,
                          dbias.defined() ? dbias.data<float>() : nullptr};
    const auto weight_term = [=](std::int64_t t) {
      const V mean = set(centered ? means[t] : 0), inv = set(invs[t]);
      return
          [=, dy = dys[t], x = xs[t]](auto at) { return hn::Mul(at.get(dy), hn::Mul(hn::Sub(at.get(x), mean), inv)); };
    };
    const auto bias_term = [=](std::int64_t t) { return [dy = dys[t]](auto at) { return at.get(dy); }; };
    if (out[0] != nullptr) add_column_sums(space, out[0], weight_term);
    if (out[1] != nullptr) add_column_sums(space, out[1], bias_term);
  });
}

void layer_norm_input_gradient(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& mean,
                               const Tensor& inv_std, const Tensor& dx, bool accumulate) {
  norm_input_gradient<true>(dy, x, weight, mean, inv_std, dx, accumulate);
}

void layer_norm_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& mean, const Tensor& inv_std,
                                const Tensor& dweight, const Tensor& dbias) {
  norm_weight_gradient<true>(dy, x, mean, inv_std, dweight, dbias);
}

void rms_norm(const Tensor& x_, const Tensor& residual_, const Tensor& weight_, float eps, const Tensor& y_,
              const Tensor& inv_rms_) {
  visit_floating(x_.dtype(), [&]<class T>(T) {
    const bool add = residual_.defined();
    const Rows<T> xs(x_), residuals(add ? residual_ : x_), ys(y_);
    const T* weight = weight_.data<T>();
    float* inv_rms = inv_rms_.data<float>();
    const std::int64_t width = width_of(x_);
    parallel_pieces(rows_of(x_), width, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        T *x = xs[t], *y = ys[t];
        const T* residual = residuals[t];
        float square;
        if (add) {
          square = row_sum(width, [=](auto at) {
            const V sum = rounded_to<T>(hn::Add(at.get(x), at.get(residual)));
            at.put(x, sum);
            return hn::Mul(sum, sum);
          });
        } else {
          square = row_sum(width, [=](auto at) {
            const V v = at.get(x);
            return hn::Mul(v, v);
          });
        }
        const float inv = 1 / std::sqrt(square / static_cast<float>(width) + eps);
        inv_rms[t] = inv;
        each(width, [=](auto at) { at.put(y, hn::Mul(hn::Mul(at.get(x), set(inv)), at.get(weight))); });
      }
    });
  });
}

void rms_norm_input_gradient(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& inv_rms,
                             const Tensor& dx, bool accumulate) {
  norm_input_gradient<false>(dy, x, weight, Tensor(), inv_rms, dx, accumulate);
}

void rms_norm_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& inv_rms, const Tensor& dweight) {
  norm_weight_gradient<false>(dy, x, Tensor(), inv_rms, dweight, Tensor());
}

void l2_normalize(const Tensor& x_, float eps, const Tensor& y_, const Tensor& inv_norm_) {
  visit_floating(x_.dtype(), [&]<class T>(T) {
    const Rows<T> xs(x_), ys(y_);
    float* inv_norm = inv_norm_.data<float>();
    const std::int64_t width = width_of(x_);
    parallel_pieces(rows_of(x_), width, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        const T* x = xs[t];
        T* y = ys[t];
        const float square = row_sum(width, [=](auto at) {
          const V v = at.get(x);
          return hn::Mul(v, v);
        });
        const float inv = inv_norm[t] = 1 / std::max(std::sqrt(square), eps);
        each(width, [=](auto at) { at.put(y, hn::Mul(at.get(x), set(inv))); });
      }
    });
  });
}

// dx = inv (dy - y (y . dy)); dx = inv dy where the norm was below eps, seen from |y| < 1.
void l2_normalize_gradient(const Tensor& dy_, const Tensor& y_, const Tensor& inv_norm_, const Tensor& dx_) {
  visit_floating(y_.dtype(), [&]<class T>(T) {
    constexpr float surely_below_one = 0.98F;  // |y|^2 is 1 within bf16's rounding otherwise
    const Rows<T> dys(dy_), ys(y_), dxs(dx_);
    const float* inv_norm = inv_norm_.data<float>();
    const std::int64_t width = width_of(y_);
    parallel_pieces(rows_of(y_), width, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        const T *dy = dys[t], *y = ys[t];
        T* dx = dxs[t];
        float sums[2];
        row_sums<2>(width, sums, [=](auto at, V* total) {
          const V v = at.get(y);
          total[0] = hn::MulAdd(v, v, total[0]);
          total[1] = hn::MulAdd(v, at.get(dy), total[1]);
        });
        const V along = set(sums[0] < surely_below_one ? 0 : sums[1]), inv = set(inv_norm[t]);
        each(width, [=](auto at) { at.put(dx, hn::Mul(hn::NegMulAdd(at.get(y), along, at.get(dy)), inv)); });
      }
    });
  });
}

}  // namespace
}  // namespace skymm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skymm {

HWY_EXPORT(layer_norm);
HWY_EXPORT(layer_norm_input_gradient);
HWY_EXPORT(layer_norm_weight_gradient);
HWY_EXPORT(rms_norm);
HWY_EXPORT(rms_norm_input_gradient);
HWY_EXPORT(rms_norm_weight_gradient);
HWY_EXPORT(l2_normalize);
HWY_EXPORT(l2_normalize_gradient);

void CpuKernels::layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, float eps, Tensor y, Tensor mean,
                            Tensor inv_std) {
  check_layer_norm(x, weight, bias, y, mean, inv_std);
  launch(x, [=] { HWY_DYNAMIC_DISPATCH(layer_norm)(x, weight, bias, eps, y, mean, inv_std); });
}

void CpuKernels::layer_norm_input_gradient(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& mean,
                                           const Tensor& inv_std, Tensor dx, bool accumulate) {
  check_layer_norm_input_gradient(dy, x, weight, mean, inv_std, dx);
  launch(x, [=] { HWY_DYNAMIC_DISPATCH(layer_norm_input_gradient)(dy, x, weight, mean, inv_std, dx, accumulate); });
}

void CpuKernels::layer_norm_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& mean,
                                            const Tensor& inv_std, Tensor dweight, Tensor dbias) {
  check_layer_norm_weight_gradient(dy, x, mean, inv_std, dweight, dbias);
  launch(x, [=] { HWY_DYNAMIC_DISPATCH(layer_norm_weight_gradient)(dy, x, mean, inv_std, dweight, dbias); });
}

void CpuKernels::rms_norm(Tensor x, const Tensor& residual, const Tensor& weight, float eps, Tensor y, Tensor inv_rms) {
  check_rms_norm(x, residual, weight, y, inv_rms);
  launch(x, [=] { HWY_DYNAMIC_DISPATCH(rms_norm)(x, residual, weight, eps, y, inv_rms); });
}

void CpuKernels::rms_norm_input_gradient(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& inv_rms,
                                         Tensor dx, bool accumulate) {
  check_rms_norm_input_gradient(dy, x, weight, inv_rms, dx);
  launch(x, [=] { HWY_DYNAMIC_DISPATCH(rms_norm_input_gradient)(dy, x, weight, inv_rms, dx, accumulate); });
}

void CpuKernels::rms_norm_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& inv_rms, Tensor dweight) {
  check_rms_norm_weight_gradient(dy, x, inv_rms, dweight);
  launch(x, [=] { HWY_DYNAMIC_DISPATCH(rms_norm_weight_gradient)(dy, x, inv_rms, dweight); });
}

void CpuKernels::l2_normalize(const Tensor& x, float eps, Tensor y, Tensor inv_norm) {
  check_l2_normalize(x, y, inv_norm);
  launch(x, [=] { HWY_DYNAMIC_DISPATCH(l2_normalize)(x, eps, y, inv_norm); });
}

void CpuKernels::l2_normalize_gradient(const Tensor& dy, const Tensor& y, const Tensor& inv_norm, Tensor dx) {
  check_l2_normalize_gradient(dy, y, inv_norm, dx);
  launch(y, [=] { HWY_DYNAMIC_DISPATCH(l2_normalize_gradient)(dy, y, inv_norm, dx); });
}

}  // namespace skymm
#endif
