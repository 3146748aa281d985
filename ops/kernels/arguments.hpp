// What primitives ask of their arguments, and tensors as rows.
#pragma once

#include "core/error.hpp"
#include "core/tensor.hpp"

namespace skymm {

// Checks the arguments of one call, which are all on one device; each failure is an Error that names the primitive and
// the tensor.
class Arguments {
 public:
  explicit Arguments(const char* primitive) : primitive_(primitive) {}

  // Elements of a row adjacent, rows at one stride.
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
  void on_device(const char* name, const Tensor& x) const;
  void is_floating(const char* name, const Tensor& x) const;

  const char* primitive_;
  mutable const Device* device_ = nullptr;  // of the first argument
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

}  // namespace skymm
