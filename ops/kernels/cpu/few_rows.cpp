#include "ops/kernels/cpu/few_rows.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/kernels/cpu/few_rows.cpp"
#include <algorithm>
#include <vector>

#include "hwy/foreach_target.h"  // before highway.h
#include "ops/kernels/cpu/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace skymm::HWY_NAMESPACE {
namespace {

// Two adjacent elements in a word: the first in its lower half.
HWY_INLINE V first_of(hn::Vec<U32> pair) { return hn::BitCast(f32, hn::ShiftLeft<16>(pair)); }
HWY_INLINE V second_of(hn::Vec<U32> pair) { return hn::BitCast(f32, hn::And(pair, hn::Set(U32{}, 0xffff0000U))); }
HWY_INLINE hn::Vec<U32> pairs_at(const BFloat16* w, std::int64_t word) {
  return hn::LoadU(U32{}, reinterpret_cast<const std::uint32_t*>(w) + word);
}

// The sums of Vectors vectors of columns, from `column` on, of a panel of pairs.
template <int Count, int Vectors>
HWY_INLINE void pairs_tile(const BFloat16* panel, std::int64_t k, const WideRows& x, std::int64_t column, float* y,
                           std::int64_t y_step) {
  V sums[Count][Vectors];
  for (auto& row : sums) {
    for (V& sum : row) sum = zero();
  }
  for (std::int64_t i = 0; i < k; i += 2) {
    V first[Vectors], second[Vectors];
    for (int v = 0; v < Vectors; ++v) {
      const auto pair = pairs_at(panel, i / 2 * panel_columns + column + v * lanes);
      first[v] = first_of(pair);
      second[v] = second_of(pair);
    }
    for (int m = 0; m < Count; ++m) {
      const V a = set(x.values[m * x.step + i]), b = set(x.values[m * x.step + i + 1]);
      for (int v = 0; v < Vectors; ++v) sums[m][v] = hn::MulAdd(second[v], b, hn::MulAdd(first[v], a, sums[m][v]));
    }
  }
  for (int m = 0; m < Count; ++m) {
    for (int v = 0; v < Vectors; ++v) hn::StoreU(sums[m][v], f32, y + m * y_step + column + v * lanes);
  }
}

template <int Count>
void pairs_panel(const BFloat16* panel, std::int64_t k, const WideRows& x, float* y, std::int64_t y_step) {
  constexpr int registers = HWY_TARGET <= HWY_AVX3 ? 16 : 8;  // for sums
  constexpr int vectors = 4 * Count <= registers ? 4 : 2 * Count <= registers ? 2 : 1;
  for (std::int64_t column = 0; column < panel_columns; column += vectors * lanes) {
    pairs_tile<Count, vectors>(panel, k, x, column, y, y_step);
  }
}

// Products with Rows rows of a plain weight. For bf16 x has its even columns first, and the odd ones from step / 2 on.
template <int Count, int Rows, class T>
HWY_INLINE void rows_tile(const T* w, std::int64_t w_step, std::int64_t k, const WideRows& x, float* y,
                          std::int64_t y_step) {
  constexpr bool is_pairs = std::is_same_v<T, BFloat16>;
  V sums[Rows][Count];
  for (auto& row : sums) {
    for (V& sum : row) sum = zero();
  }
  constexpr std::int64_t stride = is_pairs ? 2 * lanes : lanes;
  std::int64_t i = 0;
  for (; i + stride <= k; i += stride) {
    V first[Rows], second[Rows];
    for (int r = 0; r < Rows; ++r) {
      if constexpr (is_pairs) {
        const auto pair = pairs_at(w + r * w_step, i / 2);
        first[r] = first_of(pair);
        second[r] = second_of(pair);
      } else {
        first[r] = load(w + r * w_step + i);
      }
    }
    for (int m = 0; m < Count; ++m) {
      const float* const row = x.values + m * x.step;
      const V a = load(row + (is_pairs ? i / 2 : i));
      for (int r = 0; r < Rows; ++r) sums[r][m] = hn::MulAdd(first[r], a, sums[r][m]);
      if constexpr (is_pairs) {
        const V b = load(row + x.step / 2 + i / 2);
        for (int r = 0; r < Rows; ++r) sums[r][m] = hn::MulAdd(second[r], b, sums[r][m]);
      }
    }
  }
  for (int r = 0; r < Rows; ++r) {
    for (int m = 0; m < Count; ++m) {
      float sum = hn::GetLane(hn::SumOfLanes(f32, sums[r][m]));
      for (std::int64_t j = i; j < k; ++j) {
        const std::int64_t at = is_pairs ? j % 2 * (x.step / 2) + j / 2 : j;
        sum += static_cast<float>(w[r * w_step + j]) * x.values[m * x.step + at];
      }
      y[m * y_step + r] = sum;
    }
  }
}

template <int Count, class T>
void rows_of(const T* w, std::int64_t w_step, std::int64_t rows, std::int64_t k, const WideRows& x, float* y,
             std::int64_t y_step) {
  constexpr int together = Count <= 2 ? 4 : 2;
  std::int64_t row = 0;
  for (; row + together <= rows; row += together) {
    rows_tile<Count, together>(w + row * w_step, w_step, k, x, y + row, y_step);
  }
  for (; row < rows; ++row) rows_tile<Count, 1>(w + row * w_step, w_step, k, x, y + row, y_step);
}

template <class F>
HWY_INLINE void with_count(std::int64_t count, const F& f) {
  switch (count) {
    case 1:
      return f(std::integral_constant<int, 1>());
    case 2:
      return f(std::integral_constant<int, 2>());
    case 3:
      return f(std::integral_constant<int, 3>());
    case 4:
      return f(std::integral_constant<int, 4>());
    case 5:
      return f(std::integral_constant<int, 5>());
    case 6:
      return f(std::integral_constant<int, 6>());
    case 7:
      return f(std::integral_constant<int, 7>());
    default:
      return f(std::integral_constant<int, 8>());
  }
}

void PairsProducts(const BFloat16* panel, std::int64_t k, const WideRows& x, float* y, std::int64_t y_step) {
  with_count(x.count, [&](auto count) { pairs_panel<count()>(panel, k, x, y, y_step); });
}
void RowsProductsOfBFloat16(const BFloat16* w, std::int64_t w_step, std::int64_t rows, std::int64_t k,
                            const WideRows& x, float* y, std::int64_t y_step) {
  with_count(x.count, [&](auto count) { rows_of<count()>(w, w_step, rows, k, x, y, y_step); });
}
void RowsProductsOfFloat(const float* w, std::int64_t w_step, std::int64_t rows, std::int64_t k, const WideRows& x,
                         float* y, std::int64_t y_step) {
  with_count(x.count, [&](auto count) { rows_of<count()>(w, w_step, rows, k, x, y, y_step); });
}

}  // namespace
}  // namespace skymm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "ops/kernels/cpu/panel_product.hpp"

namespace skymm {

HWY_EXPORT(PairsProducts);
HWY_EXPORT(RowsProductsOfBFloat16);
HWY_EXPORT(RowsProductsOfFloat);

namespace {

// x in f32, of an even number of columns: zero where x has fewer. The memory is kept from call to call.
WideRows widen(const Matrix& x, bool split) {
  thread_local std::vector<float> memory;
  const std::int64_t step = (x.cols + 1) / 2 * 2;
  memory.resize(static_cast<std::size_t>(x.rows * step));
  for (std::int64_t m = 0; m < x.rows; ++m) {
    float* const to = memory.data() + m * step;
    to[step - 1] = 0;
    const auto copy = [&](const auto* from) {
      for (std::int64_t i = 0; i < x.cols; ++i)
        to[split ? i % 2 * (step / 2) + i / 2 : i] = static_cast<float>(from[i]);
    };
    const void* const row = x.at(m * x.row_step);
    x.dtype == DType::bf16 ? copy(static_cast<const BFloat16*>(row)) : copy(static_cast<const float*>(row));
  }
  return {memory.data(), x.rows, step};
}

// y by pieces of panel_columns: product(first column, columns, sums, their step) makes the sums of one.
template <class F>
void multiply_pieces(const Matrix& y, std::int64_t k, const Epilogue& e, const F& product) {
  parallel_blocks(y.cols, panel_columns, y.rows * y.cols * k / 4, [&](std::int64_t begin, std::int64_t end) {
    alignas(64) float sums[most_few_rows * panel_columns];
    product(begin, end - begin, sums);
    if (end - begin < panel_columns) {  // the rows of sums lie next to each other
      for (std::int64_t m = 1; m < y.rows; ++m) {
        std::copy_n(sums + m * panel_columns, end - begin, sums + m * (end - begin));
      }
    }
    finish_product(sums, y.cols_of(begin, end), columns_of(e, begin));
  });
}

}  // namespace

void multiply_few(const Matrix& x, const Matrix& weight, const Matrix& y, const Epilogue& e) {
  const bool half = weight.dtype == DType::bf16;
  const WideRows wide = widen(x, half);
  multiply_pieces(y, x.cols, e, [&](std::int64_t row, std::int64_t rows, float* sums) {
    const void* const from = weight.at(row * weight.row_step);
    half ? HWY_DYNAMIC_DISPATCH(RowsProductsOfBFloat16)(static_cast<const BFloat16*>(from), weight.row_step, rows,
                                                        x.cols, wide, sums, panel_columns)
         : HWY_DYNAMIC_DISPATCH(RowsProductsOfFloat)(static_cast<const float*>(from), weight.row_step, rows, x.cols,
                                                     wide, sums, panel_columns);
  });
}

void multiply_few(const Matrix& x, const PackedMatrix& weight, const Matrix& y, const Epilogue& e) {
  const WideRows wide = widen(x, false);
  multiply_pieces(y, x.cols, e, [&](std::int64_t column, std::int64_t, float* sums) {
    HWY_DYNAMIC_DISPATCH(PairsProducts)(weight.pairs_of(column), x.cols, wide, sums, panel_columns);
  });
}

}  // namespace skymm
#endif
