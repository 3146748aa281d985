// Rows by index, and patches of pictures as rows.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/kernels/cpu/rows.cpp"
#include <cstring>

#include "hwy/foreach_target.h"  // before highway.h
#include "ops/kernels/cpu/arguments.hpp"
#include "ops/kernels/cpu/backend.hpp"
#include "ops/kernels/cpu/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace skymm::HWY_NAMESPACE {
namespace {

// Threads share the columns, so that rows which meet are added in ascending order.
void scatter_add_rows(const Tensor& x_, const Tensor& rows_, const Tensor& y_) {
  visit_floating(x_.dtype(), [&]<class T>(T) {
    constexpr std::int64_t unit = 16;  // columns
    const Rows<T> xs(x_);
    const Rows<float> ys(y_);
    const auto* rows = rows_.data<std::int32_t>();
    const std::int64_t width = width_of(x_), count = rows_of(x_);
    parallel_pieces((width + unit - 1) / unit, unit * count, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = 0; i < count; ++i) {
        if (rows[i] < 0) continue;
        const T* x = xs[i];
        float* y = ys[rows[i]];
        each(begin * unit, std::min(width, end * unit), [=](auto at) { at.put(y, hn::Add(at.get(y), at.get(x))); });
      }
    });
  });
}

}  // namespace
}  // namespace skymm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skymm {

HWY_EXPORT(scatter_add_rows);

namespace {

// Within work: indices are known only when it runs.
void check_indices(const char* primitive, const Tensor& rows, std::int64_t limit) {
  const auto* index = rows.data<std::int32_t>();
  for (std::int64_t i = 0; i < rows.numel(); ++i) {
    if (index[i] >= limit) fail("{}: rows[{}] = {}, but there are {} rows", primitive, i, index[i], limit);
  }
}

struct ByteRows {
  explicit ByteRows(const Tensor& x)
      : data(static_cast<char*>(x.raw())),
        stride(RowLayout(x).stride * static_cast<std::int64_t>(size_of(x.dtype()))) {}
  char* operator[](std::int64_t row) const { return data + row * stride; }

  char* data;
  std::int64_t stride;
};

std::size_t row_bytes(const Tensor& x) { return static_cast<std::size_t>(width_of(x)) * size_of(x.dtype()); }

void gather(const Tensor& x, const Tensor& rows, const Tensor& y) {
  check_indices("gather_rows", rows, rows_of(x));
  const ByteRows from(x), to(y);
  const auto* index = rows.data<std::int32_t>();
  const std::size_t bytes = row_bytes(x);
  parallel_pieces(rows.numel(), width_of(x), [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      index[i] < 0 ? std::memset(to[i], 0, bytes) : std::memcpy(to[i], from[index[i]], bytes);
    }
  });
}

void scatter(const Tensor& x, const Tensor& rows, const Tensor& y) {
  check_indices("scatter_rows", rows, rows_of(y));
  const ByteRows from(x), to(y);
  const auto* index = rows.data<std::int32_t>();
  const std::size_t bytes = row_bytes(x);
  parallel_pieces(rows.numel(), width_of(x), [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      if (index[i] >= 0) std::memcpy(to[index[i]], from[i], bytes);
    }
  });
}

template <class T>
void patches(const Tensor& pixels, std::int64_t patch, const Tensor& y) {
  const Rows<T> rows(y);
  const T* from = pixels.data<T>();
  const std::int64_t channels = pixels.dim(1), down = pixels.dim(2) / patch, across = pixels.dim(3) / patch;
  const std::size_t bytes = static_cast<std::size_t>(patch) * sizeof(T);
  parallel_pieces(y.dim(0), width_of(y), [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t image = i / (down * across), top = i / across % down * patch, left = i % across * patch;
      T* to = rows[i];
      for (std::int64_t c = 0; c < channels; ++c) {
        for (std::int64_t line = 0; line < patch; ++line, to += patch) {
          std::memcpy(static_cast<void*>(to),
                      from + image * pixels.stride(0) + c * pixels.stride(1) + (top + line) * pixels.stride(2) + left,
                      bytes);
        }
      }
    }
  });
}

}  // namespace

void CpuKernels::gather_rows(const Tensor& x, const Tensor& rows, Tensor y) {
  check_gather_rows(x, rows, y);
  launch(x, [=] { gather(x, rows, y); });
}

void CpuKernels::scatter_rows(const Tensor& x, const Tensor& rows, Tensor y) {
  check_scatter_rows(x, rows, y);
  launch(x, [=] { scatter(x, rows, y); });
}

void CpuKernels::scatter_add_rows(const Tensor& x, const Tensor& rows, Tensor y) {
  check_scatter_add_rows(x, rows, y);
  launch(x, [=] {
    check_indices("scatter_add_rows", rows, rows_of(y));
    HWY_DYNAMIC_DISPATCH(scatter_add_rows)(x, rows, y);
  });
}

void CpuKernels::extract_patches(const Tensor& pixels, std::int64_t patch, Tensor y) {
  check_extract_patches(pixels, patch, y);
  launch(pixels, [=] { visit_floating(pixels.dtype(), [&]<class T>(T) { patches<T>(pixels, patch, y); }); });
}

}  // namespace skymm
#endif
