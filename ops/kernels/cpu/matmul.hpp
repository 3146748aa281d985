// Matrix products over raw memory, by oneDNN: what gemm.cpp and linear.cpp enqueue. Everything here runs at once, on
// the calling thread and OpenMP's: in blocks that depend on the shapes alone, each by one thread, because oneDNN's own
// split over threads changes the order of sums.
#pragma once

#include <memory>

#include "ops/kernels/matrix.hpp"

namespace skymm {

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
  // Whether it is bf16 in PanelLayout::pairs, and there the panel that starts with column `column`, of filled_rows()
  // rows.
  bool has_pairs() const;
  std::int64_t filled_rows() const { return (k_ + 31) / 32 * 32; }
  const BFloat16* pairs_of(std::int64_t column) const {
    return static_cast<const BFloat16*>(storage_.raw()) + column * filled_rows();
  }
  std::int64_t rows() const { return k_; }
  std::int64_t columns() const { return n_; }
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
inline constexpr std::int64_t panel_columns = 64;  // of pairs
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
