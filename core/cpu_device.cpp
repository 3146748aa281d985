// The CPU as a device: aligned memory, immediate streams, and element-wise copies over any strides.
#include <algorithm>
#include <cstring>
#include <type_traits>

#include "core/device.hpp"
#include "core/error.hpp"
#include "core/host_memory.hpp"
#include "core/tensor.hpp"

namespace skymm {
namespace {

constexpr std::int64_t parallel_from = 1 << 15;  // elements; below, waking threads costs more than it saves

template <class To, class From>
To convert(From value) {
  if constexpr (std::is_same_v<To, From>) {
    return value;
  } else {
    constexpr bool via_float = std::is_class_v<To> || std::is_class_v<From>;
    if constexpr (via_float) {
      return static_cast<To>(static_cast<float>(value));
    } else {
      return static_cast<To>(value);
    }
  }
}

// The rows of a tensor: everything but the last dimension, so that the inner loop has one stride.
struct Rows {
  explicit Rows(const Tensor& x)
      : tensor(x),
        width(x.rank() == 0 ? 1 : x.dim(-1)),
        count(width == 0 ? 0 : x.numel() / width),
        step(x.rank() == 0 ? 1 : x.stride(-1)) {}

  std::int64_t offset(std::int64_t row) const {  // elements from the first
    std::int64_t at = 0;
    for (int i = tensor.rank() - 2; i >= 0; --i) {
      at += row % tensor.shape()[i] * tensor.stride(i);
      row /= tensor.shape()[i];
    }
    return at;
  }

  Tensor tensor;
  std::int64_t width, count, step;
};

// f(x pointer, x step, y pointer, y step, n) for each row, or for long pieces where both are contiguous.
template <class X, class Y, class F>
void each_row(const Tensor& x, const Tensor& y, F f) {
  const X* from = x.data<X>();
  Y* to = y.data<Y>();
  if (x.is_contiguous() && y.is_contiguous()) {
    const std::int64_t n = x.numel();
    constexpr std::int64_t piece = 1 << 14;
#pragma omp parallel for schedule(static) if (n >= parallel_from)
    for (std::int64_t i = 0; i < n; i += piece) f(from + i, 1, to + i, 1, std::min(piece, n - i));
    return;
  }
  const Rows a(x), b(y);
#pragma omp parallel for schedule(static) if (x.numel() >= parallel_from)
  for (std::int64_t row = 0; row < a.count; ++row) f(from + a.offset(row), a.step, to + b.offset(row), b.step, a.width);
}

template <class X, class Y>
void copy_rows(const Tensor& x, const Tensor& y) {
  each_row<X, Y>(x, y, [](const X* from, std::int64_t from_step, Y* to, std::int64_t to_step, std::int64_t n) {
    if (from_step == 1 && to_step == 1) {
      for (std::int64_t i = 0; i < n; ++i) to[i] = convert<Y>(from[i]);
    } else {
      for (std::int64_t i = 0; i < n; ++i) to[i * to_step] = convert<Y>(from[i * from_step]);
    }
  });
}

template <class X, class Y>
void add_rows(const Tensor& x, const Tensor& y, float scale) {
  using Sum = std::conditional_t<std::is_same_v<Y, double>, double, float>;
  each_row<X, Y>(x, y, [scale](const X* from, std::int64_t from_step, Y* to, std::int64_t to_step, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) {
      const Sum sum =
          static_cast<Sum>(to[i * to_step]) + static_cast<Sum>(scale) * static_cast<Sum>(from[i * from_step]);
      to[i * to_step] = static_cast<Y>(sum);
    }
  });
}

class CpuDevice final : public Device {
 public:
  CpuDevice() : allocator_(*this), stream_(*this) {}

  DeviceKind kind() const override { return DeviceKind::cpu; }
  std::string name() const override { return "cpu"; }

  void* raw_allocate(std::size_t bytes) override { return memory_.allocate(bytes); }
  void raw_release(void* pointer, std::size_t bytes) override { memory_.release(pointer, bytes); }
  CachingAllocator& allocator() override { return allocator_; }

  std::unique_ptr<Stream> make_stream() override { return std::make_unique<ImmediateStream>(*this); }
  Stream& default_stream() override { return stream_; }

  void copy(const Tensor& from, Tensor to) override {
    check(from.shape() == to.shape(), "cannot copy a tensor of shape {} to {}", from.shape(), to.shape());
    if (from.numel() == 0) return;
    current_stream(*this).enqueue([from, to] {
      visit_dtype(from.dtype(), [&](auto x) {
        visit_dtype(to.dtype(), [&](auto y) { copy_rows<decltype(x), decltype(y)>(from, to); });
      });
    });
  }

  void fill(Tensor x, double value) override {
    if (x.numel() == 0) return;
    current_stream(*this).enqueue([x, value] {
      visit_dtype(x.dtype(), [&](auto zero) {
        using T = decltype(zero);
        const T v = convert<T>(value);
        each_row<T, T>(x, x, [v](const T*, std::int64_t, T* to, std::int64_t step, std::int64_t n) {
          for (std::int64_t i = 0; i < n; ++i) to[i * step] = v;
        });
      });
    });
  }

  void add(const Tensor& x, Tensor y, float scale) override {
    check(x.shape() == y.shape(), "cannot add a tensor of shape {} to {}", x.shape(), y.shape());
    check(&x.device() == this, "cannot add a tensor on {} to one on {}", x.device().name(), name());
    if (x.numel() == 0) return;
    const bool half = x.dtype() == DType::bf16, half_sum = y.dtype() == DType::bf16;
    const auto is_float = [](DType t) { return t == DType::f32 || t == DType::bf16; };
    check((is_float(x.dtype()) && is_float(y.dtype())) || (x.dtype() == DType::f64 && y.dtype() == DType::f64),
          "add takes f32 and bf16, or two f64; got {} and {}", name_of(x.dtype()), name_of(y.dtype()));
    current_stream(*this).enqueue([=] {
      if (x.dtype() == DType::f64) {
        add_rows<double, double>(x, y, scale);
      } else if (half) {
        half_sum ? add_rows<BFloat16, BFloat16>(x, y, scale) : add_rows<BFloat16, float>(x, y, scale);
      } else {
        half_sum ? add_rows<float, BFloat16>(x, y, scale) : add_rows<float, float>(x, y, scale);
      }
    });
  }

  void to_host(const Tensor& x, void* to) override {
    const Tensor source = x.contiguous();
    current_stream(*this).synchronize();
    if (source.bytes() > 0) std::memcpy(to, source.raw(), source.bytes());
  }

  void from_host(const void* from, Tensor to) override {
    check(to.is_contiguous(), "from_host needs a contiguous tensor");
    current_stream(*this).synchronize();  // `to` may be recycled memory that queued work still reads
    const auto* source = static_cast<const char*>(from);
    auto* target = static_cast<char*>(to.raw());
    const auto bytes = static_cast<std::int64_t>(to.bytes());
    constexpr std::int64_t piece = 1 << 20;
#pragma omp parallel for schedule(static) if (bytes > piece)
    for (std::int64_t i = 0; i < bytes; i += piece) {
      std::memcpy(target + i, source + i, static_cast<std::size_t>(std::min(piece, bytes - i)));
    }
  }

 private:
  HostMemory memory_;
  CachingAllocator allocator_;
  ImmediateStream stream_;
};

}  // namespace

Device& cpu() {
  static auto* device = new CpuDevice;  // never destroyed: tensors in statics may outlive any order of destruction
  return *device;
}

}  // namespace skymm
