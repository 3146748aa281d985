// Quantised rows in memory, and what the kernels do with them tile by tile: at once, on the calling thread.
#pragma once

#include "core/quantized_tensor.hpp"
#include "ops/kernels/cpu/few_rows.hpp"

namespace skymm {

// The codes and scales of a QuantizedTensor, as raw memory.
struct QuantizedRows {
  explicit QuantizedRows(const QuantizedTensor& x);

  QuantizedFormat format;
  bool is_double;
  std::int64_t rows, columns, blocks;
  std::int64_t code_bytes;  // of a row
  const std::uint8_t* codes;
  const void* scales;
  const float* steps;
  float offset = 0;

  const std::uint8_t* codes_of(std::int64_t row) const { return codes + row * code_bytes; }
  float scale(std::int64_t row, std::int64_t block) const {
    const std::int64_t i = row * blocks + block;
    if (!is_double) return static_cast<const float*>(scales)[i];
    return offset + steps[i / scale_group] * static_cast<float>(static_cast<const std::int8_t*>(scales)[i]);
  }
};

// A part of the rows: [row, end_row) x [column, end_column); column is a multiple of nf4_block.
struct QuantizedTile {
  std::int64_t row, end_row, column, end_column;
};

// to[(r - row) step + c - column] = w[r][c], rounded to T: f32 or bf16.
void dequantize_tile(const QuantizedRows& w, const QuantizedTile& tile, float* to, std::int64_t step);
void dequantize_tile(const QuantizedRows& w, const QuantizedTile& tile, BFloat16* to, std::int64_t step);

// The tile as oneDNN's right operand of shape [rows, columns] in PanelLayout::pairs: panels of 64 columns, in them
// pairs of rows, in them the columns: to[c / 64][r / 2][c mod 64][r mod 2]. `first` is the place of the tile's first
// row in a panel of panel_rows rows (both even, but for the last row of all).
void dequantize_pairs(const QuantizedRows& w, const QuantizedTile& tile, std::int64_t first, std::int64_t panel_rows,
                      BFloat16* to);

// y[m y_step + r - row] = the sum over k of x[m][k] w[r][k] for the rows [row, end_row) of w, in f32. For nf4
// x is split.
void few_products(const QuantizedRows& w, std::int64_t row, std::int64_t end_row, const WideRows& x, float* y,
                  std::int64_t y_step);

// One row of `columns` elements to codes, and its scales (int8: one; nf4: one a block). False where an element is not
// finite.
bool quantize_row(QuantizedFormat format, const void* x, bool is_bf16, std::int64_t columns, std::uint8_t* codes,
                  float* scales);

}  // namespace skymm
