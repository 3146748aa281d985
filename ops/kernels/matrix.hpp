// Tensors as matrices in memory, and the checks of products that every backend makes before it enqueues one.
#pragma once

#include "ops/kernels/kernels.hpp"

namespace skymm {

// [batch, rows, cols] in memory; steps in elements. One of row_step and col_step is 1.
struct Matrix {
  void* data = nullptr;
  DType dtype = DType::f32;
  std::int64_t rows = 0, cols = 0;
  std::int64_t row_step = 0, col_step = 1;
  std::int64_t batch = 1, batch_step = 0;

  Matrix transposed() const {
    Matrix x = *this;
    std::swap(x.rows, x.cols);
    std::swap(x.row_step, x.col_step);
    return x;
  }
  Matrix rows_of(std::int64_t begin, std::int64_t end) const {
    Matrix x = *this;
    x.data = at(begin * row_step);
    x.rows = end - begin;
    return x;
  }
  Matrix cols_of(std::int64_t begin, std::int64_t end) const { return transposed().rows_of(begin, end).transposed(); }
  Matrix member(std::int64_t i) const {  // of the batch
    Matrix x = *this;
    x.data = at(i * batch_step);
    x.batch = 1;
    return x;
  }
  void* at(std::int64_t elements) const {
    return static_cast<char*>(data) + elements * static_cast<std::int64_t>(size_of(dtype));
  }
};

// What the parts are made of, part by part.
std::vector<Tensor> tensors_of(std::span<const QuantizedTensor> parts);

// The matrix, or batch of matrices, that x is. Throws Error, in the name of `primitive` and `name`, unless x is f32 or
// bf16, of rank 2 (or 3 where `batched`), and adjacent in one of its last two dimensions.
Matrix matrix_of(const Tensor& x, const char* primitive, const char* name, bool batched = false);
// The same, and the elements of a row are adjacent.
Matrix row_matrix_of(const Tensor& x, const char* primitive, const char* name, bool batched = false);

// c = activation(alpha a b + bias) (+ c where accumulate; then activation is none). bias [c.cols] or null.
struct Epilogue {
  float alpha = 1.0F;
  bool accumulate = false;
  Activation activation = Activation::none;
  const void* bias = nullptr;
  DType bias_dtype = DType::f32;
};
inline Epilogue epilogue_of(const Tensor& bias, Activation activation, bool accumulate) {
  Epilogue e{.accumulate = accumulate, .activation = activation};
  if (bias.defined()) {
    e.bias = bias.raw();
    e.bias_dtype = bias.dtype();
  }
  return e;
}

// The operands of a product c = a b, transposed as it asks. Each function throws Error where tensors do not fit.
struct Product {
  Matrix a, b, c;
};
Product gemm_product(const Tensor& a, const Tensor& b, const Tensor& c, const Kernels::Gemm& options);
Product weight_gradient_product(const Tensor& dy, const Tensor& x, const Tensor& dw);  // dy^T x
void check_linear(const Tensor& x, const LinearWeight& w, const Tensor& bias, Activation activation, const Tensor& y,
                  bool accumulate);
void check_linear_input_gradient(const Tensor& dy, const LinearWeight& w, const Tensor& dx);
// The weight as the matrix [rows, columns] of its codes.
Tensor matrix_of_codes(const Tensor& weight, const char* primitive, const QuantizedTensor& codes);
void check_quantized_parts(std::span<const QuantizedTensor> parts, DType compute_dtype);

}  // namespace skymm
