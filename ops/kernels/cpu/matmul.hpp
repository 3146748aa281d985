// Matrix products over raw memory, by oneDNN: what gemm.cpp and linear.cpp enqueue. Everything here runs at once, on
// the calling thread and OpenMP's: in blocks that depend on the shapes alone, each by one thread, because oneDNN's own
// split over threads changes the order of sums.
#pragma once

#include <memory>

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

// A right operand [k, n] in the layout that oneDNN multiplies fastest, by panels of columns; one layout serves every
// number of rows. Where the instruction set has no better layout than the plain one, it is a plain copy.
class PackedMatrix {
 public:
  PackedMatrix(std::int64_t k, std::int64_t n, DType dtype);
  ~PackedMatrix();
  PackedMatrix(const PackedMatrix&) = delete;
  PackedMatrix& operator=(const PackedMatrix&) = delete;

  void pack(const Matrix& b) const { reorder(b, true); }     // b [k, n] -> this
  void unpack(const Matrix& b) const { reorder(b, false); }  // this -> b
  bool is_plain() const;                                     // as_plain() may be used
  Matrix as_plain() const;                                   // [k, n]
  const Tensor& storage() const { return storage_; }

 private:
  friend void matmul(const Matrix& a, const PackedMatrix& b, const Matrix& c, const Epilogue& epilogue);
  struct Panels;
  void reorder(const Matrix& b, bool pack) const;
  std::int64_t k_, n_;
  DType dtype_;
  std::unique_ptr<Panels> panels_;
  Tensor storage_;  // u8
};

// Whether oneDNN multiplies the type here: bf16 takes AVX-512.
bool multiplies(DType dtype);

// The layout of a right operand that is made for one product.
enum class PanelLayout : std::uint8_t {
  plain,  // as its Matrix says
  pairs,  // bf16, BA16a64b2a: panels of 64 columns, in them pairs of rows; rows filled up with zeros to 32, columns to
          // 64
};

// The same product by this thread alone, without blocks.
void matmul_panel(const Matrix& a, const Matrix& b, PanelLayout layout, const Matrix& c, const Epilogue& epilogue);

// a [m, k], b [k, n], c [m, n]; a and b of one dtype; c f32 or theirs, adjacent in its rows. Any of m, n, k may be 0.
void matmul(const Matrix& a, const Matrix& b, const Matrix& c, const Epilogue& epilogue = {});
void matmul(const Matrix& a, const PackedMatrix& b, const Matrix& c, const Epilogue& epilogue = {});

}  // namespace skymm
