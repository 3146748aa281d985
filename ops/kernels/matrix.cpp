#include "ops/kernels/matrix.hpp"

#include <algorithm>
#include <iterator>

#include "core/error.hpp"
#include "ops/kernels/one_device.hpp"

namespace skymm {
namespace {

bool is_adjacent(std::int64_t step, std::int64_t size) { return step == 1 || size <= 1; }

void check_product(const char* primitive, const Tensor& x, std::int64_t in, const Tensor& y, std::int64_t out,
                   const LinearWeight& w, const char* x_name, const char* y_name) {
  const Matrix mx = row_matrix_of(x, primitive, x_name), my = row_matrix_of(y, primitive, y_name);
  check(mx.cols == in && my.cols == out && mx.rows == my.rows,
        "{}: {} {} and {} {} do not fit a weight of {} outputs and {} inputs", primitive, x_name, x.shape(), y_name,
        y.shape(), w.out, w.in);
  check(x.dtype() == w.compute_dtype, "{}: {} is {} but the weight computes in {}", primitive, x_name,
        name_of(x.dtype()), name_of(w.compute_dtype));
  check(y.dtype() == x.dtype() || y.dtype() == DType::f32, "{}: {} is {}; it must be f32 or, as {}, {}", primitive,
        y_name, name_of(y.dtype()), x_name, name_of(x.dtype()));
}

}  // namespace

std::vector<Tensor> tensors_of(std::span<const QuantizedTensor> parts) {
  std::vector<Tensor> all;
  for (const QuantizedTensor& part : parts) std::ranges::copy(part.tensors(), std::back_inserter(all));
  return all;
}

Matrix matrix_of(const Tensor& x, const char* primitive, const char* name, bool batched) {
  check(x.defined(), "{}: {} is undefined", primitive, name);
  const bool rank3 = batched && x.rank() == 3;
  check(x.rank() == 2 || rank3, "{}: {} has shape {}; it must be a matrix{}", primitive, name, x.shape(),
        batched ? " or a batch of matrices" : "");
  check(x.dtype() == DType::f32 || x.dtype() == DType::bf16, "{}: {} is {}; it must be f32 or bf16", primitive, name,
        name_of(x.dtype()));
  Matrix m{nullptr, x.dtype(), x.dim(-2), x.dim(-1), x.stride(-2), x.stride(-1)};
  if (rank3) {
    m.batch = x.dim(0);
    m.batch_step = x.stride(0);
  }
  if (m.rows <= 1 && is_adjacent(m.col_step, m.cols)) m.row_step = std::max<std::int64_t>(m.cols, 1);
  if (m.cols <= 1) m.col_step = 1;
  const bool rows_adjacent = m.col_step == 1 && (m.rows <= 1 || m.row_step >= m.cols);
  const bool cols_adjacent = m.row_step == 1 && (m.cols <= 1 || m.col_step >= m.rows);
  check(rows_adjacent || cols_adjacent, "{}: the elements of {} {} are adjacent neither in its rows nor its columns",
        primitive, name, x.shape());
  m.data = x.numel() == 0 ? nullptr : x.raw();
  return m;
}

Matrix row_matrix_of(const Tensor& x, const char* primitive, const char* name, bool batched) {
  const Matrix m = matrix_of(x, primitive, name, batched);
  check(m.col_step == 1, "{}: the elements of a row of {} are not adjacent", primitive, name);
  return m;
}

Product gemm_product(const Tensor& a, const Tensor& b, const Tensor& c, const Kernels::Gemm& options) {
  Matrix ma = matrix_of(a, "gemm", "a", true), mb = matrix_of(b, "gemm", "b", true);
  const Matrix mc = row_matrix_of(c, "gemm", "c", true);
  if (options.transpose_a) ma = ma.transposed();
  if (options.transpose_b) mb = mb.transposed();
  check(a.rank() == b.rank() && a.rank() == c.rank() && ma.batch == mb.batch && ma.batch == mc.batch,
        "gemm: a {}, b {} and c {} are not batches of one size", a.shape(), b.shape(), c.shape());
  check(ma.cols == mb.rows && ma.rows == mc.rows && mb.cols == mc.cols,
        "gemm: op(a) [{}, {}] times op(b) [{}, {}] does not give c [{}, {}]", ma.rows, ma.cols, mb.rows, mb.cols,
        mc.rows, mc.cols);
  check(a.dtype() == b.dtype(), "gemm: a is {} but b is {}", name_of(a.dtype()), name_of(b.dtype()));
  check(c.dtype() == a.dtype() || c.dtype() == DType::f32, "gemm: c is {}; it must be f32 or, as a, {}",
        name_of(c.dtype()), name_of(a.dtype()));
  check_one_device("gemm", {&a, &b, &c});
  return {ma, mb, mc};
}

Product weight_gradient_product(const Tensor& dy, const Tensor& x, const Tensor& dw) {
  const char* const name = "linear_weight_gradient";
  const Matrix mdy = row_matrix_of(dy, name, "dy"), mx = row_matrix_of(x, name, "x"),
               mdw = row_matrix_of(dw, name, "dw");
  check(mdy.rows == mx.rows && mdw.rows == mdy.cols && mdw.cols == mx.cols,
        "linear_weight_gradient: dy {} and x {} do not give dw {}", dy.shape(), x.shape(), dw.shape());
  check(dy.dtype() == x.dtype() && dw.dtype() == DType::f32,
        "linear_weight_gradient: dy is {}, x {} and dw {}; the first two must agree and dw be f32", name_of(dy.dtype()),
        name_of(x.dtype()), name_of(dw.dtype()));
  check_one_device(name, {&dy, &x, &dw});
  return {mdy.transposed(), mx, mdw};
}

void check_linear(const Tensor& x, const LinearWeight& w, const Tensor& bias, Activation activation, const Tensor& y,
                  bool accumulate) {
  check_product("linear", x, w.in, y, w.out, w, "x", "y");
  check_one_device("linear", {&x, &bias, &y});
  check(!accumulate || activation == Activation::none, "linear: an activation cannot be accumulated");
  if (!bias.defined()) return;
  check(bias.rank() == 1 && bias.dim(0) == w.out && (bias.stride(0) == 1 || w.out <= 1),
        "linear: bias has shape {}; it must be [{}], contiguous", bias.shape(), w.out);
  check(bias.dtype() == x.dtype() || bias.dtype() == DType::f32, "linear: bias is {}; it must be f32 or, as x, {}",
        name_of(bias.dtype()), name_of(x.dtype()));
}

void check_linear_input_gradient(const Tensor& dy, const LinearWeight& w, const Tensor& dx) {
  check_product("linear_input_gradient", dy, w.out, dx, w.in, w, "dy", "dx");
  check_one_device("linear_input_gradient", {&dy, &dx});
}

Tensor matrix_of_codes(const Tensor& x, const char* primitive, const QuantizedTensor& codes) {
  check(x.defined() && x.rank() >= 2, "{}: the weight must be a matrix", primitive);
  check(x.dim(0) == codes.rows() && x.numel() == codes.shape.numel(), "{}: the weight {} does not fit codes of {}",
        primitive, x.shape(), codes.shape);
  const Tensor matrix = x.rank() == 2 ? x : x.view({codes.rows(), codes.columns()});
  row_matrix_of(matrix, primitive, "weight");
  return matrix;
}

void check_quantized_parts(std::span<const QuantizedTensor> parts, DType compute_dtype) {
  check(!parts.empty(), "make_linear_weight: a quantised weight without parts");
  check(compute_dtype == DType::f32 || compute_dtype == DType::bf16,
        "make_linear_weight: a quantised weight cannot compute in {}; it must be f32 or bf16", name_of(compute_dtype));
  for (const QuantizedTensor& part : parts) {
    check_layout(part, "make_linear_weight");
    check(part.format == parts[0].format && part.columns() == parts[0].columns(),
          "make_linear_weight: parts {} in {} and {} in {} do not make one weight", parts[0].shape,
          name_of(parts[0].format), part.shape, name_of(part.format));
  }
}

}  // namespace skymm
