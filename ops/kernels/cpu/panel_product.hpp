// Products whose right operand is not there as a whole in the layout that oneDNN wants: panels of its columns are made
// in cache, one after the other, and multiplied there.
#pragma once

#include <algorithm>

#include "core/round_up.hpp"
#include "ops/kernels/cpu/launch.hpp"
#include "ops/kernels/cpu/matmul_wide.hpp"

namespace skymm {

struct Panel {
  Matrix matrix;
  PanelLayout layout = PanelLayout::plain;
};

// Memory of this thread for one panel, kept from call to call.
void* panel_memory(std::int64_t bytes);

// The part of an epilogue for the columns from `column` on.
Epilogue columns_of(const Epilogue& e, std::int64_t column);

// The columns [begin, end) of W, where w is W^T packed in pairs; begin is a multiple of panel_columns.
Panel transposed_panel(const PackedMatrix& w, std::int64_t begin, std::int64_t end);

// One block by this thread. Where a was widened, so is the product, and rounded once.
void multiply_by_panel(const Matrix& a, const Panel& b, const Matrix& c, const Epilogue& e);

// c = a b, b by panels of make_panel(begin, end, dtype): each by one thread, in pieces that depend on the shapes alone.
// a is dense.
template <class F>
void multiply_panels(const Matrix& a, const Matrix& c, const Epilogue& e, const F& make_panel) {
  constexpr std::int64_t most_columns = 128;  // of one panel: it should stay in the second-level cache
  constexpr std::int64_t most_rows = 1024;    // of activations that one panel serves
  if (a.cols == 0) return finish_empty(c, e);
  const std::int64_t across = (c.cols + most_columns - 1) / most_columns;
  const std::int64_t cols = round_up((c.cols + across - 1) / across, panel_columns);
  const std::int64_t down = (c.rows + most_rows - 1) / most_rows, rows = (c.rows + down - 1) / down;
  parallel_for(across * down, c.rows * c.cols * a.cols / 64, [&](std::int64_t i) {
    const std::int64_t begin = i / down * cols, end = std::min(c.cols, begin + cols);
    const std::int64_t row = i % down * rows, end_row = std::min(c.rows, row + rows);
    if (begin >= end || row >= end_row) return;
    multiply_by_panel(a.rows_of(row, end_row), make_panel(begin, end, a.dtype),
                      c.rows_of(row, end_row).cols_of(begin, end), columns_of(e, begin));
  });
}

}  // namespace skymm
