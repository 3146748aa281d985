// What every CPU kernel outside of matrix products starts with: checks of its arguments, tensors as rows, work in
// pieces on threads.
#pragma once

#include <omp.h>

#include <algorithm>

#include "core/error.hpp"
#include "core/tensor.hpp"
#include "ops/kernels/cpu/launch.hpp"

namespace skymm {

// Checks the arguments of one call; each failure is an Error that names the primitive and the tensor.
class Arguments {
 public:
  explicit Arguments(const char* primitive) : primitive_(primitive) {}

  // On the CPU, elements of a row adjacent, rows at one stride.
  void rows(const char* name, const Tensor& x) const;
  // As rows(), and f32 or bf16.
  void floating(const char* name, const Tensor& x) const;
  // As `model`, in shape and dtype, and fit for rows as above.
  void like(const char* name, const Tensor& x, const Tensor& model) const;
  void shaped(const char* name, const Tensor& x, const Shape& shape, DType dtype) const;
  // [tokens, heads, width] f32 or bf16; only the elements of a head need be adjacent.
  void heads(const char* name, const Tensor& x) const;
  // [images, channels, height, width] f32 or bf16; only the elements of a line need be adjacent.
  void pixels(const char* name, const Tensor& x) const;
  // `count` elements of `dtype` in a block, of any shape.
  void block(const char* name, const Tensor& x, std::int64_t count, DType dtype) const;
  void that(bool ok, const char* name, const char* must) const;

 private:
  void on_cpu(const char* name, const Tensor& x) const;
  void is_floating(const char* name, const Tensor& x) const;

  const char* primitive_;
};

// A tensor as rows of adjacent elements: all dimensions but the last as one.
struct RowLayout {
  explicit RowLayout(const Tensor& x);
  std::int64_t count, width, stride;
};
bool collapses_to_rows(const Tensor& x);
inline std::int64_t width_of(const Tensor& x) { return x.rank() == 0 ? 1 : x.dim(-1); }
inline std::int64_t rows_of(const Tensor& x) { return RowLayout(x).count; }

template <class T>
struct Rows {
  explicit Rows(const Tensor& x) : data(x.data<T>()), stride(RowLayout(x).stride) {}
  T* operator[](std::int64_t row) const { return data + row * stride; }

  T* data;
  std::int64_t stride;
};

// f(float{}) or f(BFloat16{})
template <class F>
void visit_floating(DType dtype, F&& f) {
  dtype == DType::bf16 ? f(BFloat16{}) : f(float{});
}

// f(begin, end) over [0, n) in one piece a thread. `cost`: elements that an item touches; little work stays on the
// caller's thread, as waking others costs more than they save. f must not let its results depend on the pieces.
template <class F>
void parallel_pieces(std::int64_t n, std::int64_t cost, const F& f) {
  constexpr std::int64_t worth_a_thread = 1 << 14;
  const auto threads =
      static_cast<int>(std::min<std::int64_t>({omp_get_max_threads(), n, 1 + n * cost / worth_a_thread}));
  if (threads <= 1) {
    if (n > 0) f(std::int64_t{0}, n);
    return;
  }
#pragma omp parallel num_threads(threads)
  {
    const std::int64_t me = omp_get_thread_num(), all = omp_get_num_threads();
    f(n * me / all, n * (me + 1) / all);
  }
}

}  // namespace skymm
