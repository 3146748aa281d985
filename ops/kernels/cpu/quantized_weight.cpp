// Products with quantised weights. One copy of the codes serves forward and gradient: a panel of columns of the right
// operand is dequantised into cache, in the order that the product wants, and multiplied there by oneDNN. A few tokens
// do not pay for that; for them codes are read once, and multiplied on the way.
#include <algorithm>
#include <array>
#include <vector>

#include "core/error.hpp"
#include "ops/kernels/cpu/backend.hpp"
#include "ops/kernels/cpu/launch.hpp"
#include "ops/kernels/cpu/linear_weight.hpp"
#include "ops/kernels/cpu/matmul_wide.hpp"
#include "ops/kernels/cpu/quantized_rows.hpp"

namespace skymm {
namespace {

constexpr std::int64_t most_panel_columns = 128;  // of one panel: it should stay in the second-level cache
constexpr std::int64_t most_rows = 1024;          // of activations that one dequantised panel serves

std::int64_t round_up(std::int64_t n, std::int64_t unit) { return (n + unit - 1) / unit * unit; }

// Memory of this thread, kept from call to call: one piece for each use.
enum class Use { panel, product };

void* scratch(Use use, std::int64_t bytes) {
  thread_local std::array<Tensor, 2> pieces;
  Tensor& kept = pieces[static_cast<int>(use)];
  if (!kept.defined() || kept.numel() < bytes) {
    const PurposeScope purpose(Purpose::workspace);
    kept = Tensor();
    kept = Tensor::empty({bytes}, DType::u8);
  }
  return kept.raw();
}

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

struct Panel {
  Matrix matrix;
  PanelLayout layout = PanelLayout::plain;
};

// The columns [begin, end) of W^T: rows of W.
Panel forward_panel(const StackedRows& w, std::int64_t begin, std::int64_t end, DType dtype) {
  const std::int64_t k = w.columns(), n = end - begin;
  void* const memory = scratch(Use::panel, k * n * static_cast<std::int64_t>(size_of(dtype)));
  dtype == DType::bf16 ? dequantize_rows(w, begin, end, 0, k, static_cast<BFloat16*>(memory))
                       : dequantize_rows(w, begin, end, 0, k, static_cast<float*>(memory));
  return {{memory, dtype, k, n, 1, k}};
}

// The columns [begin, end) of W.
Panel gradient_panel(const StackedRows& w, std::int64_t begin, std::int64_t end, DType dtype) {
  const std::int64_t k = w.rows(), n = end - begin;
  if (dtype == DType::f32 || !w.has_even_parts()) {
    void* const memory = scratch(Use::panel, k * n * static_cast<std::int64_t>(size_of(dtype)));
    dtype == DType::bf16 ? dequantize_rows(w, 0, k, begin, end, static_cast<BFloat16*>(memory))
                         : dequantize_rows(w, 0, k, begin, end, static_cast<float*>(memory));
    return {{memory, dtype, k, n, n, 1}};
  }
  const std::int64_t filled = round_up(k, 32), panels = (n + panel_columns - 1) / panel_columns;
  const std::int64_t elements = filled * panel_columns * panels;
  auto* const memory = static_cast<BFloat16*>(scratch(Use::panel, elements * 2));
  w.each_part(0, k, [&](const QuantizedRows& part, std::int64_t row, std::int64_t end_row, std::int64_t before) {
    dequantize_pairs(part, {row, end_row, begin, end}, before, filled, memory);
  });
  for (std::int64_t panel = 0; panel < panels; ++panel) {
    BFloat16* const end_of_panel = memory + (panel + 1) * filled * panel_columns;
    std::fill(end_of_panel - (filled - round_up(k, 2)) * panel_columns, end_of_panel, BFloat16());
  }
  return {{memory, dtype, k, n}, PanelLayout::pairs};
}

Epilogue columns_of(const Epilogue& e, std::int64_t column) {
  Epilogue part = e;
  if (e.bias != nullptr) {
    part.bias = static_cast<const char*>(e.bias) + column * static_cast<std::int64_t>(size_of(e.bias_dtype));
  }
  return part;
}

// One block by this thread. Where a was widened, so is the product, and rounded once.
void multiply(const Matrix& a, const Panel& b, const Matrix& c, const Epilogue& e) {
  if (a.dtype == DType::bf16 || c.dtype == DType::f32 || a.cols == 0) {
    return matmul_panel(a, b.matrix, b.layout, c, e);
  }
  auto* const product = static_cast<float*>(scratch(Use::product, c.rows * c.cols * std::int64_t{sizeof(float)}));
  matmul_panel(a, b.matrix, b.layout, {product, DType::f32, c.rows, c.cols, c.cols, 1}, {});
  finish_product(product, c, e);
}

// c = a b, b by panels that make_panel(begin, end, dtype) dequantises: each by one thread, in pieces that depend on the
// shapes alone.
template <class F>
void multiply_panels(const Matrix& a, const Matrix& c, const Epilogue& e, const F& make_panel) {
  if (a.cols == 0) return finish_empty(c, e);
  const std::int64_t across = (c.cols + most_panel_columns - 1) / most_panel_columns;
  const std::int64_t cols = round_up((c.cols + across - 1) / across, panel_columns);
  const std::int64_t down = (c.rows + most_rows - 1) / most_rows, rows = (c.rows + down - 1) / down;
  parallel_for(across * down, c.rows * c.cols * a.cols / 64, [&](std::int64_t i) {
    const std::int64_t begin = i / down * cols, end = std::min(c.cols, begin + cols);
    const std::int64_t row = i % down * rows, end_row = std::min(c.rows, row + rows);
    if (begin >= end || row >= end_row) return;
    multiply(a.rows_of(row, end_row), make_panel(begin, end, a.dtype), c.rows_of(row, end_row).cols_of(begin, end),
             columns_of(e, begin));
  });
}

// x W^T for at most most_few_rows rows of x.
void multiply_few(const Matrix& x, const StackedRows& w, const Matrix& y, const Epilogue& e) {
  constexpr std::int64_t task_rows = 32;  // of w
  const std::int64_t step = round_up(x.cols, 2);
  auto* const values = static_cast<float*>(scratch(Use::panel, x.rows * step * std::int64_t{sizeof(float)}));
  for (std::int64_t m = 0; m < x.rows; ++m) {
    widen_few(w.format(), x.at(m * x.row_step), x.dtype == DType::bf16, x.cols, values + m * step);
  }
  const FewRows few{values, x.rows, step};
  parallel_blocks(w.rows(), task_rows, w.rows() * x.cols * (x.rows + 1) / 8, [&](std::int64_t begin, std::int64_t end) {
    float product[most_few_rows * task_rows];
    const std::int64_t n = end - begin;
    w.each_part(begin, end,
                [&](const QuantizedRows& part, std::int64_t row, std::int64_t end_row, std::int64_t before) {
                  few_products(part, row, end_row, few, product + before, n);
                });
    finish_product(product, y.cols_of(begin, end), columns_of(e, begin));
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
      Epilogue e{.accumulate = accumulate, .activation = activation};
      if (bias.defined()) {
        e.bias = bias.raw();
        e.bias_dtype = bias.dtype();
      }
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
  check(!parts.empty(), "make_linear_weight: a quantised weight without parts");
  check(compute_dtype == DType::f32 || compute_dtype == DType::bf16,
        "make_linear_weight: a quantised weight cannot compute in {}; it must be f32 or bf16", name_of(compute_dtype));
  for (const QuantizedTensor& part : parts) {
    check_layout(part, "make_linear_weight");
    check(part.format == parts[0].format && part.columns() == parts[0].columns(),
          "make_linear_weight: parts {} in {} and {} in {} do not make one weight", parts[0].shape.str(),
          name_of(parts[0].format), part.shape.str(), name_of(part.format));
  }
  return std::make_shared<QuantizedWeight>(parts, compute_dtype);
}

}  // namespace skymm
