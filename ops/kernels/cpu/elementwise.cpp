// Activations, SwiGLU, sums and products element by element, and rows of a table added to rows.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/kernels/cpu/elementwise.cpp"
#include "hwy/foreach_target.h"  // before highway.h
#include "ops/kernels/cpu/arguments.hpp"
#include "ops/kernels/cpu/backend.hpp"
#include "ops/kernels/cpu/columns-inl.hpp"
#include "ops/kernels/cpu/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace skymm::HWY_NAMESPACE {
namespace {

// z = f(x, y), element by element; y may be x.
template <class T, class F>
void map(const Tensor& x_, const Tensor& y_, const Tensor& z_, const F& f) {
  const Rows<T> xs(x_), ys(y_), zs(z_);
  const auto piece = [&](std::int64_t row, std::int64_t begin, std::int64_t end) {
    const T *x = xs[row], *y = ys[row];
    T* z = zs[row];
    each(begin, end, [&](auto at) { at.put(z, f(at.get(x), at.get(y))); });
  };
  if (x_.is_contiguous() && y_.is_contiguous() && z_.is_contiguous()) {
    constexpr std::int64_t unit = 1024;
    const std::int64_t n = x_.numel();
    parallel_pieces((n + unit - 1) / unit, unit,
                    [&](std::int64_t begin, std::int64_t end) { piece(0, begin * unit, std::min(n, end * unit)); });
    return;
  }
  const std::int64_t width = width_of(x_);
  parallel_pieces(rows_of(x_), width, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) piece(row, 0, width);
  });
}

// x sigmoid(s x) and its derivative
struct Swish {
  float scale;
  HWY_INLINE V value(V x) const { return hn::Mul(x, sigmoid(hn::Mul(x, set(scale)))); }
  HWY_INLINE V slope(V x) const {
    const V z = hn::Mul(x, set(scale));
    const Sigmoids s = sigmoids(z);
    return hn::MulAdd(hn::Mul(z, s.value), s.complement, s.value);
  }
};

struct Identity {
  HWY_INLINE V value(V x) const { return x; }
  HWY_INLINE V slope(V) const { return set(1); }
};

struct Relu {
  HWY_INLINE V value(V x) const { return hn::IfThenZeroElse(hn::Lt(x, zero()), x); }
  HWY_INLINE V slope(V x) const { return hn::IfThenElseZero(hn::Gt(x, zero()), set(1)); }
};

struct Gelu {
  HWY_INLINE V value(V x) const { return hn::Mul(x, normal(x).cdf); }
  HWY_INLINE V slope(V x) const {
    const Normal n = normal(x);
    return hn::MulAdd(x, n.density, n.cdf);
  }
};

// x (1 + tanh(u)) / 2 = x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3)
struct GeluTanh {
  static constexpr float linear = 1.59576912F, cubic = 0.0713548163F;  // of 2 u
  HWY_INLINE V value(V x) const { return hn::Mul(x, sigmoid(argument(x))); }
  HWY_INLINE V slope(V x) const {
    const Sigmoids s = sigmoids(argument(x));
    const V du = hn::MulAdd(hn::Mul(x, x), set(3 * cubic), set(linear));
    return hn::MulAdd(hn::Mul(hn::Mul(x, du), s.value), s.complement, s.value);
  }
  HWY_INLINE static V argument(V x) { return hn::Mul(x, hn::MulAdd(hn::Mul(x, x), set(cubic), set(linear))); }
};

template <class F>
void visit_activation(Activation kind, const F& f) {
  switch (kind) {
    case Activation::none:
      return f(Identity{});
    case Activation::relu:
      return f(Relu{});
    case Activation::silu:
      return f(Swish{1.0F});
    case Activation::gelu:
      return f(Gelu{});
    case Activation::gelu_tanh:
      return f(GeluTanh{});
    case Activation::quick_gelu:
      return f(Swish{1.702F});
  }
}

void activation(Activation kind, const Tensor& x, const Tensor& y) {
  visit_activation(kind, [&](auto function) {
    visit_floating(x.dtype(), [&]<class T>(T) { map<T>(x, x, y, [=](V v, V) { return function.value(v); }); });
  });
}

void activation_gradient(Activation kind, const Tensor& x, const Tensor& dy, const Tensor& dx) {
  visit_activation(kind, [&](auto function) {
    visit_floating(x.dtype(),
                   [&]<class T>(T) { map<T>(x, dy, dx, [=](V v, V d) { return hn::Mul(d, function.slope(v)); }); });
  });
}

void swiglu(const Tensor& gate_up_, const Tensor& y_) {
  visit_floating(y_.dtype(), [&]<class T>(T) {
    const Rows<T> gate_ups(gate_up_), ys(y_);
    const std::int64_t width = width_of(y_);
    parallel_pieces(rows_of(y_), 2 * width, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        const T *gate = gate_ups[t], *up = gate + width;
        T* y = ys[t];
        each(width, [=](auto at) { at.put(y, hn::Mul(Swish{1}.value(at.get(gate)), at.get(up))); });
      }
    });
  });
}

void swiglu_gradient(const Tensor& gate_up_, const Tensor& dy_, const Tensor& dgate_up_) {
  visit_floating(dy_.dtype(), [&]<class T>(T) {
    const Rows<T> gate_ups(gate_up_), dys(dy_), dgate_ups(dgate_up_);
    const std::int64_t width = width_of(dy_);
    parallel_pieces(rows_of(dy_), 4 * width, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        const T *gate = gate_ups[t], *up = gate + width, *dy = dys[t];
        T *dgate = dgate_ups[t], *dup = dgate + width;
        each(width, [=](auto at) {
          const V g = at.get(gate), u = at.get(up), d = at.get(dy);
          const Sigmoids s = sigmoids(g);
          const V silu = hn::Mul(g, s.value);
          at.put(dup, hn::Mul(d, silu));
          at.put(dgate, hn::Mul(hn::Mul(d, u), hn::MulAdd(silu, s.complement, s.value)));
        });
      }
    });
  });
}

void add(const Tensor& x, const Tensor& y, const Tensor& z) {
  visit_floating(x.dtype(), [&]<class T>(T) { map<T>(x, y, z, [](V a, V b) { return hn::Add(a, b); }); });
}

void multiply(const Tensor& x, const Tensor& y, float scale, const Tensor& z) {
  visit_floating(x.dtype(), [&]<class T>(T) {
    if (y.defined()) {
      map<T>(x, y, z, [=](V a, V b) { return hn::Mul(hn::Mul(a, b), set(scale)); });
    } else {
      map<T>(x, x, z, [=](V a, V) { return hn::Mul(a, set(scale)); });
    }
  });
}

void add_rows(const Tensor& x_, const Tensor& table_, const Tensor& y_) {
  visit_floating(x_.dtype(), [&]<class T>(T) {
    const Rows<T> xs(x_), tables(table_), ys(y_);
    const std::int64_t width = width_of(x_), n = rows_of(table_);
    parallel_pieces(rows_of(x_), width, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        const T *x = xs[t], *table = tables[t % n];
        T* y = ys[t];
        each(width, [=](auto at) { at.put(y, hn::Add(at.get(x), at.get(table))); });
      }
    });
  });
}

void sum_rows(const Tensor& dy, const Tensor& dtable) {
  visit_floating(dy.dtype(), [&]<class T>(T) {
    const Rows<T> dys(dy);
    const Rows<float> dtables(dtable);
    const std::int64_t rows = rows_of(dy), width = width_of(dy), n = rows_of(dtable);
    const auto term = [=](std::int64_t t) { return [x = dys[t]](auto at) { return at.get(x); }; };
    if (n == 1) {
      add_column_sums({.rows = rows, .width = width}, dtables[0], term);
      return;
    }
    parallel_pieces(n, rows / n * width, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        add_columns({.rows = rows, .width = width, .first = i, .step = n}, 0, width, dtables[i], term);
      }
    });
  });
}

}  // namespace
}  // namespace skymm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skymm {

HWY_EXPORT(activation);
HWY_EXPORT(activation_gradient);
HWY_EXPORT(swiglu);
HWY_EXPORT(swiglu_gradient);
HWY_EXPORT(add);
HWY_EXPORT(multiply);
HWY_EXPORT(add_rows);
HWY_EXPORT(sum_rows);

void CpuKernels::activation(Activation kind, const Tensor& x, Tensor y) {
  check_activation(x, y);
  launch(x, [=] { HWY_DYNAMIC_DISPATCH(activation)(kind, x, y); });
}

void CpuKernels::activation_gradient(Activation kind, const Tensor& x, const Tensor& dy, Tensor dx) {
  check_activation_gradient(x, dy, dx);
  launch(x, [=] { HWY_DYNAMIC_DISPATCH(activation_gradient)(kind, x, dy, dx); });
}

void CpuKernels::swiglu(const Tensor& gate_up, Tensor y) {
  check_swiglu(gate_up, y);
  launch(y, [=] { HWY_DYNAMIC_DISPATCH(swiglu)(gate_up, y); });
}

void CpuKernels::swiglu_gradient(const Tensor& gate_up, const Tensor& dy, Tensor dgate_up) {
  check_swiglu_gradient(gate_up, dy, dgate_up);
  launch(dy, [=] { HWY_DYNAMIC_DISPATCH(swiglu_gradient)(gate_up, dy, dgate_up); });
}

void CpuKernels::add(const Tensor& x, const Tensor& y, Tensor z) {
  check_add(x, y, z);
  launch(x, [=] { HWY_DYNAMIC_DISPATCH(add)(x, y, z); });
}

void CpuKernels::multiply(const Tensor& x, const Tensor& y, float scale, Tensor z) {
  check_multiply(x, y, z);
  launch(x, [=] { HWY_DYNAMIC_DISPATCH(multiply)(x, y, scale, z); });
}

void CpuKernels::add_rows(const Tensor& x, const Tensor& table, Tensor y) {
  check_add_rows(x, table, y);
  launch(x, [=] { HWY_DYNAMIC_DISPATCH(add_rows)(x, table, y); });
}

void CpuKernels::sum_rows(const Tensor& dy, Tensor dtable) {
  check_sum_rows(dy, dtable);
  launch(dy, [=] { HWY_DYNAMIC_DISPATCH(sum_rows)(dy, dtable); });
}

}  // namespace skymm
#endif
