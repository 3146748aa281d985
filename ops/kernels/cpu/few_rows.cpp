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

// The sums of Vectors vectors of columns, from `column` on, over the pairs [begin, end) of a panel.
template <int Count, int Vectors>
HWY_INLINE void pairs_tile(const BFloat16* panel, std::int64_t begin, std::int64_t end, const WideRows& x,
                           std::int64_t column, float* y, std::int64_t y_step) {
  V sums[Count][Vectors];
  for (auto& row : sums) {
    for (V& sum : row) sum = zero();
  }
  for (std::int64_t i = begin; i < end; ++i) {
    V first[Vectors], second[Vectors];
    for (int v = 0; v < Vectors; ++v) {
      const auto pair = pairs_at(panel, i * panel_columns + column + v * lanes);
      first[v] = first_of(pair);
      second[v] = second_of(pair);
    }
    for (int m = 0; m < Count; ++m) {
      const V a = set(x.values[m * x.step + 2 * i]), b = set(x.values[m * x.step + 2 * i + 1]);
      for (int v = 0; v < Vectors; ++v) sums[m][v] = hn::MulAdd(second[v], b, hn::MulAdd(first[v], a, sums[m][v]));
    }
  }
  for (int m = 0; m < Count; ++m) {
    for (int v = 0; v < Vectors; ++v) hn::StoreU(sums[m][v], f32, y + m * y_step + column + v * lanes);
  }
}

template <int Count>
void pairs_panel(const BFloat16* panel, std::int64_t begin, std::int64_t end, const WideRows& x, float* y,
                 std::int64_t y_step) {
  constexpr int registers = HWY_TARGET <= HWY_AVX3 ? 16 : 8;  // for sums
  constexpr int vectors = 4 * Count <= registers ? 4 : 2 * Count <= registers ? 2 : 1;
  for (std::int64_t column = 0; column < panel_columns; column += vectors * lanes) {
    pairs_tile<Count, vectors>(panel, begin, end, x, column, y, y_step);
  }
}

// Products with one row of a plain weight. For bf16 x has its even columns first, and the odd ones from step / 2 on.
template <int Count, class T>
HWY_INLINE void row_products(const T* w, std::int64_t k, const WideRows& x, float* y, std::int64_t y_step) {
  constexpr bool is_pairs = std::is_same_v<T, BFloat16>;
  constexpr int vectors = Count <= 2 ? 4 : Count <= 4 ? 2 : 1;  // sums enough to hide the latency of an addition
  constexpr std::int64_t stride = is_pairs ? 2 * lanes : lanes;
  V sums[Count][vectors];
  for (auto& row : sums) {
    for (V& sum : row) sum = zero();
  }
  const auto add = [&](std::int64_t i, int v) {
    if constexpr (is_pairs) {
      const auto pair = pairs_at(w, i / 2);
      const V even = first_of(pair), odd = second_of(pair);
      for (int m = 0; m < Count; ++m) {
        const float* const row = x.values + m * x.step + i / 2;
        sums[m][v] = hn::MulAdd(odd, load(row + x.step / 2), hn::MulAdd(even, load(row), sums[m][v]));
      }
    } else {
      const V weights = load(w + i);
      for (int m = 0; m < Count; ++m) sums[m][v] = hn::MulAdd(weights, load(x.values + m * x.step + i), sums[m][v]);
    }
  };
  std::int64_t i = 0;
  for (; i + vectors * stride <= k; i += vectors * stride) {
    for (int v = 0; v < vectors; ++v) add(i + v * stride, v);
  }
  for (; i + stride <= k; i += stride) add(i, 0);
  for (int m = 0; m < Count; ++m) {
    V total = sums[m][0];
    for (int v = 1; v < vectors; ++v) total = hn::Add(total, sums[m][v]);
    float sum = hn::GetLane(hn::SumOfLanes(f32, total));
    for (std::int64_t j = i; j < k; ++j) {
      const std::int64_t at = is_pairs ? j % 2 * (x.step / 2) + j / 2 : j;
      sum += static_cast<float>(w[j]) * x.values[m * x.step + at];
    }
    y[m * y_step] = sum;
  }
}

// Row after row: memory is read fastest in the order that it lies.
template <int Count, class T>
void rows_of(const T* w, std::int64_t w_step, std::int64_t rows, std::int64_t k, const WideRows& x, float* y,
             std::int64_t y_step) {
  for (std::int64_t row = 0; row < rows; ++row) row_products<Count>(w + row * w_step, k, x, y + row, y_step);
}

template <class F>
HWY_INLINE void with_count(std::int64_t count, const F& f) {
  switch (count) {
    case 1:
      return f.template operator()<1>();
    case 2:
      return f.template operator()<2>();
    case 3:
      return f.template operator()<3>();
    case 4:
      return f.template operator()<4>();
    case 5:
      return f.template operator()<5>();
    case 6:
      return f.template operator()<6>();
    case 7:
      return f.template operator()<7>();
    default:
      return f.template operator()<8>();
  }
}

void PairsProducts(const BFloat16* panel, std::int64_t begin, std::int64_t end, const WideRows& x, float* y,
                   std::int64_t y_step) {
  with_count(x.count, [&]<int Count>() { pairs_panel<Count>(panel, begin, end, x, y, y_step); });
}
void RowsProductsOfBFloat16(const BFloat16* w, std::int64_t w_step, std::int64_t rows, std::int64_t k,
                            const WideRows& x, float* y, std::int64_t y_step) {
  with_count(x.count, [&]<int Count>() { rows_of<Count>(w, w_step, rows, k, x, y, y_step); });
}
void RowsProductsOfFloat(const float* w, std::int64_t w_step, std::int64_t rows, std::int64_t k, const WideRows& x,
                         float* y, std::int64_t y_step) {
  with_count(x.count, [&]<int Count>() { rows_of<Count>(w, w_step, rows, k, x, y, y_step); });
}

void WidenRow(const Matrix& x, std::int64_t row, float* to) {
  const void* const from = x.at(row * x.row_step);
  const auto widen = [&](const auto* values) { each(x.cols, [=](auto at) { at.put(to, at.get(values)); }); };
  x.dtype == DType::bf16 ? widen(static_cast<const BFloat16*>(from)) : widen(static_cast<const float*>(from));
}

// The even columns to `to`, the odd ones to `odd`.
void SplitRow(const Matrix& x, std::int64_t row, float* to, float* odd) {
  const void* const from = x.at(row * x.row_step);
  std::int64_t i = 0;
  const auto rest = [&](const auto* values) {
    for (; i < x.cols; ++i) (i % 2 == 0 ? to : odd)[i / 2] = static_cast<float>(values[i]);
  };
  if (x.dtype == DType::f32) return rest(static_cast<const float*>(from));
  const auto* const values = static_cast<const BFloat16*>(from);
  for (; i + 2 * lanes <= x.cols; i += 2 * lanes) {
    const auto pair = pairs_at(values, i / 2);
    store(first_of(pair), to + i / 2);
    store(second_of(pair), odd + i / 2);
  }
  rest(values);
}

}  // namespace
}  // namespace skymm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skymm {

HWY_EXPORT(PairsProducts);
HWY_EXPORT(RowsProductsOfBFloat16);
HWY_EXPORT(RowsProductsOfFloat);
HWY_EXPORT(WidenRow);
HWY_EXPORT(SplitRow);

namespace {

// Memory of this thread, kept from call to call: one piece for each use.
enum class Use { activations, sums };

float* scratch(Use use, std::int64_t count) {
  thread_local std::vector<float> pieces[2];
  std::vector<float>& kept = pieces[static_cast<int>(use)];
  if (static_cast<std::int64_t>(kept.size()) < count) kept.resize(static_cast<std::size_t>(count));
  return kept.data();
}

}  // namespace

WideRows widen_few(const Matrix& x, bool split) {
  const std::int64_t step = round_up(x.cols, 2);
  float* const memory = scratch(Use::activations, x.rows * step);
  for (std::int64_t m = 0; m < x.rows; ++m) {
    float* const to = memory + m * step;
    if (step > x.cols) to[step - 1] = 0;
    split ? HWY_DYNAMIC_DISPATCH(SplitRow)(x, m, to, to + step / 2) : HWY_DYNAMIC_DISPATCH(WidenRow)(x, m, to);
  }
  return {memory, x.rows, step};
}

namespace {

// Parts of each panel's rows, so that threads share few panels evenly: by the shape alone, and not too short to read.
std::int64_t parts_of(std::int64_t panels, std::int64_t pairs) {
  constexpr std::int64_t wanted = 32, least_pairs = 64;
  return std::clamp<std::int64_t>((wanted + panels - 1) / panels, 1, std::max<std::int64_t>(1, pairs / least_pairs));
}

}  // namespace

void multiply_few(const Matrix& x, const Matrix& weight, const Matrix& y, const Epilogue& e) {
  const bool half = weight.dtype == DType::bf16;
  const WideRows wide = widen_few(x, half);
  multiply_few_rows(y, x.cols, e, [&](std::int64_t row, std::int64_t rows, float* sums) {
    const void* const from = weight.at(row * weight.row_step);
    half ? HWY_DYNAMIC_DISPATCH(RowsProductsOfBFloat16)(static_cast<const BFloat16*>(from), weight.row_step, rows,
                                                        x.cols, wide, sums, rows)
         : HWY_DYNAMIC_DISPATCH(RowsProductsOfFloat)(static_cast<const float*>(from), weight.row_step, rows, x.cols,
                                                     wide, sums, rows);
  });
}

void multiply_few(const Matrix& x, const PackedMatrix& weight, const Matrix& y, const Epilogue& e) {
  const WideRows wide = widen_few(x, false);
  const std::int64_t panels = (y.cols + panel_columns - 1) / panel_columns, pairs = wide.step / 2;
  const std::int64_t parts = parts_of(panels, pairs), width = panels * panel_columns, size = x.rows * width;
  float* const sums = scratch(Use::sums, parts * size);
  const auto finish = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t m = 0; m < y.rows; ++m) {
      finish_product(sums + m * width + begin, y.rows_of(m, m + 1).cols_of(begin, end), columns_of(e, begin));
    }
  };
  parallel_pieces(panels * parts, few_cost(x.rows, panel_columns * x.cols / parts),
                  [&](std::int64_t i, std::int64_t end) {
                    for (; i < end; ++i) {
                      const std::int64_t column = i / parts * panel_columns, part = i % parts;
                      HWY_DYNAMIC_DISPATCH(PairsProducts)
                      (weight.pairs_of(column), pairs * part / parts, pairs * (part + 1) / parts, wide,
                       sums + part * size + column, width);
                      if (parts == 1) finish(column, std::min(y.cols, column + panel_columns));
                    }
                  });
  if (parts == 1) return;
  for (std::int64_t part = 1; part < parts; ++part) {
    for (std::int64_t i = 0; i < size; ++i) sums[i] += sums[part * size + i];
  }
  finish(0, y.cols);
}

}  // namespace skymm
#endif
