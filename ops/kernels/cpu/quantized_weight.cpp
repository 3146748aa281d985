// Products with quantised weights. One copy of the codes serves forward and gradient: a panel of columns of the right
// operand is dequantised into cache, in the order that the product wants, and multiplied there by oneDNN. A few tokens
// do not pay for that; for them codes are read once, and multiplied on the way.
#include <algorithm>
#include <vector>

#include "core/error.hpp"
#include "ops/kernels/cpu/backend.hpp"
#include "ops/kernels/cpu/launch.hpp"
#include "ops/kernels/cpu/linear_weight.hpp"
#include "ops/kernels/cpu/matmul_wide.hpp"
#include "ops/kernels/cpu/panel_product.hpp"
#include "ops/kernels/cpu/quantized_rows.hpp"

namespace skymm {
namespace {

// Rows of several parts, one after the other.
class StackedRows {
 public:
  explicit StackedRows(const std::vector<QuantizedTensor>& parts) {
    for (const QuantizedTensor& part : parts) {
      parts_.emplace_back(part);
      first_.push_back(rows_);
      has_even_parts_ = has_even_parts_ && rows_ % 2 == 0;
      rows_ += part.rows();
    }
  }

  std::int64_t rows() const { return rows_; }
  std::int64_t columns() const { return parts_[0].columns; }
  QuantizedFormat format() const { return parts_[0].format; }
  bool has_even_parts() const { return has_even_parts_; }  // each starts at an even row

  // f(part, first of its rows, their end, how many rows of [begin, end) come before)
  template <class F>
  void each_part(std::int64_t begin, std::int64_t end, const F& f) const {
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      const std::int64_t from = std::max(begin, first_[i]), to = std::min(end, first_[i] + parts_[i].rows);
      if (from < to) f(parts_[i], from - first_[i], to - first_[i], from - begin);
    }
  }

 private:
  std::vector<QuantizedRows> parts_;
  std::vector<std::int64_t> first_;
  std::int64_t rows_ = 0;
  bool has_even_parts_ = true;
};

// The part [begin, end) of the rows, [0, columns) or a part of the columns, as rows of T.
template <class T>
void dequantize_rows(const StackedRows& w, std::int64_t begin, std::int64_t end, std::int64_t column,
                     std::int64_t end_column, T* to) {
  const std::int64_t step = end_column - column;
  w.each_part(begin, end, [&](const QuantizedRows& part, std::int64_t row, std::int64_t end_row, std::int64_t before) {
    dequantize_tile(part, {row, end_row, column, end_column}, to + before * step, step);
  });
}

// The columns [begin, end) of W^T: rows of W.
Panel forward_panel(const StackedRows& w, std::int64_t begin, std::int64_t end, DType dtype) {
  const std::int64_t k = w.columns(), n = end - begin;
  void* const memory = panel_memory(k * n * static_cast<std::int64_t>(size_of(dtype)));
  dtype == DType::bf16 ? dequantize_rows(w, begin, end, 0, k, static_cast<BFloat16*>(memory))
                       : dequantize_rows(w, begin, end, 0, k, static_cast<float*>(memory));
  return {{memory, dtype, k, n, 1, k}};
}

// The columns [begin, end) of W.
Panel gradient_panel(const StackedRows& w, std::int64_t begin, std::int64_t end, DType dtype) {
  const std::int64_t k = w.rows(), n = end - begin;
  if (dtype == DType::f32 || !w.has_even_parts()) {
    void* const memory = panel_memory(k * n * static_cast<std::int64_t>(size_of(dtype)));
    dtype == DType::bf16 ? dequantize_rows(w, 0, k, begin, end, static_cast<BFloat16*>(memory))
                         : dequantize_rows(w, 0, k, begin, end, static_cast<float*>(memory));
    return {{memory, dtype, k, n, n, 1}};
  }
  const std::int64_t filled = round_up(k, 32), panels = (n + panel_columns - 1) / panel_columns;
  const std::int64_t elements = filled * panel_columns * panels;
  auto* const memory = static_cast<BFloat16*>(panel_memory(elements * 2));
  w.each_part(0, k, [&](const QuantizedRows& part, std::int64_t row, std::int64_t end_row, std::int64_t before) {
    dequantize_pairs(part, {row, end_row, begin, end}, before, filled, memory);
  });
  for (std::int64_t panel = 0; panel < panels; ++panel) {
    BFloat16* const end_of_panel = memory + (panel + 1) * filled * panel_columns;
    std::fill(end_of_panel - (filled - round_up(k, 2)) * panel_columns, end_of_panel, BFloat16());
  }
  return {{memory, dtype, k, n}, PanelLayout::pairs};
}

// x W^T for at most most_few_rows rows of x.
void multiply_few(const Matrix& x, const StackedRows& w, const Matrix& y, const Epilogue& e) {
  const WideRows wide = widen_few(x, w.format() == QuantizedFormat::nf4);
  multiply_few_rows(y, x.cols, e, [&](std::int64_t row, std::int64_t rows, float* sums) {
    w.each_part(row, row + rows,
                [&](const QuantizedRows& part, std::int64_t first, std::int64_t end, std::int64_t before) {
                  few_products(part, first, end, wide, sums + before, rows);
                });
  });
}

class QuantizedWeight final : public CpuLinearWeight {
 public:
  QuantizedWeight(std::span<const QuantizedTensor> parts, DType dtype)
      : parts_(std::make_shared<const std::vector<QuantizedTensor>>(parts.begin(), parts.end())) {
    for (const QuantizedTensor& part : parts) out += part.rows();
    in = parts[0].columns();
    compute_dtype = dtype;
  }

  std::size_t bytes() const override {
    std::size_t sum = 0;
    for (const QuantizedTensor& part : *parts_) sum += part.bytes();
    return sum;
  }

  std::vector<Tensor> tensors() const override { return tensors_of(*parts_); }

  Tensor plain() const override {
    const Tensor weight = Tensor::empty({out, in}, compute_dtype, (*parts_)[0].codes.device());
    std::int64_t row = 0;
    for (const QuantizedTensor& part : *parts_) {
      kernels(weight).dequantize(part, weight.slice(0, row, row + part.rows()));
      row += part.rows();
    }
    return weight;
  }

  void forward(const Tensor& x, const Tensor& bias, Activation activation, const Tensor& y,
               bool accumulate) const override {
    const bool few = x.dim(0) <= most_few_rows;
    launch(y, [=, x = few ? x : operand(x), parts = parts_] {
      const Epilogue e = epilogue_of(bias, activation, accumulate);
      const Matrix a = matrix_of(x, "linear", "x"), c = matrix_of(y, "linear", "y");
      const StackedRows w(*parts);
      if (few) return multiply_few(a, w, c, e);
      multiply_panels(a, c, e, [&](std::int64_t begin, std::int64_t end, DType dtype) {
        return forward_panel(w, begin, end, dtype);
      });
    });
  }

  void input_gradient(const Tensor& dy, const Tensor& dx, bool accumulate) const override {
    launch(dx, [=, dy = operand(dy), parts = parts_] {
      const StackedRows w(*parts);
      multiply_panels(matrix_of(dy, "linear_input_gradient", "dy"), matrix_of(dx, "linear_input_gradient", "dx"),
                      {.accumulate = accumulate}, [&](std::int64_t begin, std::int64_t end, DType dtype) {
                        return gradient_panel(w, begin, end, dtype);
                      });
    });
  }

 private:
  // The left operand, dense, because every panel reads it; widened where oneDNN cannot multiply bf16.
  static Tensor operand(const Tensor& x) { return (multiplies(x.dtype()) ? x : x.to(DType::f32)).contiguous(); }

  std::shared_ptr<const std::vector<QuantizedTensor>> parts_;
};

}  // namespace

LinearWeightPtr CpuKernels::make_linear_weight(std::span<const QuantizedTensor> parts, DType compute_dtype) {
  check_quantized_parts(parts, compute_dtype);
  return std::make_shared<QuantizedWeight>(parts, compute_dtype);
}

}  // namespace skymm
