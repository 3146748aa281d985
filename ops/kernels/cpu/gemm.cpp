#include "core/error.hpp"
#include "ops/kernels/cpu/backend.hpp"
#include "ops/kernels/cpu/launch.hpp"
#include "ops/kernels/cpu/matmul.hpp"

namespace skymm {

void CpuKernels::gemm(const Tensor& a, const Tensor& b, Tensor c, const Gemm& options) {
  Matrix ma = matrix_of(a, "gemm", "a", true), mb = matrix_of(b, "gemm", "b", true);
  const Matrix mc = row_matrix_of(c, "gemm", "c", true);
  if (options.transpose_a) ma = ma.transposed();
  if (options.transpose_b) mb = mb.transposed();
  check(a.rank() == b.rank() && a.rank() == c.rank() && ma.batch == mb.batch && ma.batch == mc.batch,
        "gemm: a {}, b {} and c {} are not batches of one size", a.shape().str(), b.shape().str(), c.shape().str());
  check(ma.cols == mb.rows && ma.rows == mc.rows && mb.cols == mc.cols,
        "gemm: op(a) [{}, {}] times op(b) [{}, {}] does not give c [{}, {}]", ma.rows, ma.cols, mb.rows, mb.cols,
        mc.rows, mc.cols);
  check(a.dtype() == b.dtype(), "gemm: a is {} but b is {}", name_of(a.dtype()), name_of(b.dtype()));
  check(c.dtype() == a.dtype() || c.dtype() == DType::f32, "gemm: c is {}; it must be f32 or, as a, {}",
        name_of(c.dtype()), name_of(a.dtype()));
  if (c.numel() == 0) return;
  launch(c, [=] {
    matmul(ma, mb, mc, {.alpha = options.alpha, .accumulate = options.accumulate});
    static_cast<void>(a), static_cast<void>(b), static_cast<void>(c);  // captured: the memory lives until here
  });
}

}  // namespace skymm
