// Codes to numbers and back, compiled once for each instruction set. A code's number comes from a table of 16 words
// (the values of nf4, multiplied by the block's scale), which is one or two registers.
#include "ops/kernels/cpu/quantized_rows.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/kernels/cpu/quantized_rows.cpp"
#include <algorithm>
#include <limits>

#include "hwy/cache_control.h"
#include "hwy/foreach_target.h"  // before highway.h
#include "ops/kernels/cpu/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace skymm::HWY_NAMESPACE {
namespace {

using U8 = hn::Rebind<std::uint8_t, F32>;
using I8 = hn::Rebind<std::int8_t, F32>;
using Words = hn::Vec<U32>;
constexpr U32 u32;

// Sixteen words, looked up by the lowest four bits of each lane.
#if HWY_TARGET <= HWY_AVX3
struct Table {
  Words all;
  HWY_INLINE explicit Table(Words first) : all(first) {}
  HWY_INLINE Words operator[](Words index) const {
    return hn::TableLookupLanes(all, hn::Indices512<std::uint32_t>{index.raw});  // vpermd looks at four bits alone
  }
};
#elif HWY_TARGET == HWY_AVX2
struct Table {
  Words low, high;
  HWY_INLINE Table(Words low, Words high) : low(low), high(high) {}
  HWY_INLINE Words operator[](Words index) const {
    const auto lanes8 = hn::IndicesFromVec(u32, hn::And(index, hn::Set(u32, 7)));
    return hn::IfThenElse(hn::TestBit(index, hn::Set(u32, 8)), hn::TableLookupLanes(high, lanes8),
                          hn::TableLookupLanes(low, lanes8));
  }
};
#else
struct Table {
  std::uint32_t words[16];
  HWY_INLINE Words operator[](Words index) const {
    alignas(16) std::uint32_t at[lanes];
    hn::Store(hn::And(index, hn::Set(u32, 15)), u32, at);
    for (std::uint32_t& word : at) word = words[word];
    return hn::Load(u32, at);
  }
};
#endif

// The table of f(nf4_values[i] * scale), f from floats to words.
template <class F>
HWY_INLINE Table table_of(float scale, const F& f) {
#if HWY_TARGET <= HWY_AVX3
  return Table(f(hn::Mul(load(nf4_values), set(scale))));
#elif HWY_TARGET == HWY_AVX2
  return {f(hn::Mul(load(nf4_values), set(scale))), f(hn::Mul(load(nf4_values + 8), set(scale)))};
#else
  Table table;
  for (int i = 0; i < 16; i += static_cast<int>(lanes)) {
    hn::StoreU(f(hn::Mul(load(nf4_values + i), set(scale))), u32, table.words + i);
  }
  return table;
#endif
}

HWY_INLINE Words as_words(V x) { return hn::BitCast(u32, x); }
HWY_INLINE V as_floats(Words x) { return hn::BitCast(f32, x); }
// bf16 in the lower or the upper half of a word
HWY_INLINE Words low_half(V x) { return hn::ShiftRight<16>(bf16_bits(x)); }
HWY_INLINE Words high_half(V x) { return hn::And(bf16_bits(x), hn::Set(u32, 0xffff0000U)); }

HWY_INLINE Words bytes(const std::uint8_t* from) { return hn::PromoteTo(u32, hn::LoadU(U8{}, from)); }
HWY_INLINE V integers(const std::uint8_t* from) {
  const auto codes = hn::LoadU(I8{}, reinterpret_cast<const std::int8_t*>(from));
  return hn::ConvertTo(f32, hn::PromoteTo(I32{}, codes));
}

template <class T>
HWY_INLINE T rounded(float x) {
  if constexpr (std::is_same_v<T, float>) return x;
  return static_cast<T>(x);
}

HWY_INLINE float nf4_value(const std::uint8_t* codes, std::int64_t i) {
  return nf4_values[i % 2 == 0 ? codes[i / 2] >> 4 : codes[i / 2] & 15];
}

HWY_INLINE void nf4_block_to(const std::uint8_t* codes, float scale, float* to) {
  const Table table = table_of(scale, as_words);
  for (std::int64_t i = 0; i < nf4_block / 2; i += lanes) {
    const Words pair = bytes(codes + i);
    hn::StoreInterleaved2(as_floats(table[hn::ShiftRight<4>(pair)]), as_floats(table[pair]), f32, to + 2 * i);
  }
}

HWY_INLINE void nf4_block_to(const std::uint8_t* codes, float scale, BFloat16* to) {
  const Table low = table_of(scale, low_half), high = table_of(scale, high_half);
  for (std::int64_t i = 0; i < nf4_block / 2; i += lanes) {
    const Words pair = bytes(codes + i);
    hn::StoreU(hn::Or(low[hn::ShiftRight<4>(pair)], high[pair]), u32, reinterpret_cast<std::uint32_t*>(to) + i);
  }
}

template <class T>
HWY_INLINE void row_to(const QuantizedRows& w, std::int64_t row, std::int64_t column, std::int64_t end, T* to) {
  const std::uint8_t* codes = w.codes_of(row);
  if (w.format == QuantizedFormat::int8) {
    const V scale = set(w.scale(row, 0));
    for (; column + lanes <= end; column += lanes, to += lanes) store(hn::Mul(integers(codes + column), scale), to);
    for (; column < end; ++column) {
      *to++ = rounded<T>(static_cast<float>(static_cast<std::int8_t>(codes[column])) * w.scale(row, 0));
    }
    return;
  }
  for (; column + nf4_block <= end; column += nf4_block, to += nf4_block) {
    nf4_block_to(codes + column / 2, w.scale(row, column / nf4_block), to);
  }
  for (; column < end; ++column) *to++ = rounded<T>(nf4_value(codes, column) * w.scale(row, column / nf4_block));
}

template <class T>
void tile_to(const QuantizedRows& w, const QuantizedTile& tile, T* to, std::int64_t step) {
  for (std::int64_t row = tile.row; row < tile.end_row; ++row, to += step) {
    row_to(w, row, tile.column, tile.end_column, to);
  }
}

void TileToFloat(const QuantizedRows& w, const QuantizedTile& tile, float* to, std::int64_t step) {
  tile_to(w, tile, to, step);
}
void TileToBFloat16(const QuantizedRows& w, const QuantizedTile& tile, BFloat16* to, std::int64_t step) {
  tile_to(w, tile, to, step);
}

// Two rows of a block of nf4, interleaved.
HWY_INLINE void nf4_pair_to(const std::uint8_t* upper, float upper_scale, const std::uint8_t* lower, float lower_scale,
                            std::uint32_t* to) {
  const Table first = table_of(upper_scale, low_half), second = table_of(lower_scale, high_half);
  for (std::int64_t i = 0; i < nf4_block / 2; i += lanes) {
    const Words a = bytes(upper + i), b = bytes(lower + i);
    const Words even = hn::Or(first[hn::ShiftRight<4>(a)], second[hn::ShiftRight<4>(b)]);
    hn::StoreInterleaved2(even, hn::Or(first[a], second[b]), u32, to + 2 * i);
  }
}

HWY_INLINE void int8_pair_to(const std::uint8_t* upper, float upper_scale, const std::uint8_t* lower, float lower_scale,
                             std::uint32_t* to) {
  for (std::int64_t i = 0; i < panel_columns; i += lanes) {
    const Words even = low_half(hn::Mul(integers(upper + i), set(upper_scale)));
    hn::StoreU(hn::Or(even, high_half(hn::Mul(integers(lower + i), set(lower_scale)))), u32, to + i);
  }
}

// Rows row and row + 1 (which may not be there: zeros) of the columns [column, end): of one panel.
HWY_INLINE void pair_to(const QuantizedRows& w, std::int64_t row, bool has_next, std::int64_t column, std::int64_t end,
                        std::uint32_t* to) {
  const std::int64_t block = w.format == QuantizedFormat::int8 ? 0 : column / nf4_block;
  if (has_next && end - column == panel_columns) {
    const std::uint8_t *upper = w.codes_of(row), *lower = w.codes_of(row + 1);
    const float upper_scale = w.scale(row, block), lower_scale = w.scale(row + 1, block);
    if (w.format == QuantizedFormat::nf4) {
      nf4_pair_to(upper + column / 2, upper_scale, lower + column / 2, lower_scale, to);
    } else {
      int8_pair_to(upper + column, upper_scale, lower + column, lower_scale, to);
    }
    return;
  }
  BFloat16 rows[2][panel_columns] = {};
  row_to(w, row, column, end, rows[0]);
  if (has_next) row_to(w, row + 1, column, end, rows[1]);
  for (std::int64_t i = 0; i < panel_columns; ++i) to[i] = rows[0][i].bits | std::uint32_t{rows[1][i].bits} << 16;
}

// Rows lie far apart, where the processor does not foresee them: asks for the codes and scales of one to come.
HWY_INLINE void prefetch_row(const QuantizedRows& w, const QuantizedTile& tile, std::int64_t row) {
  constexpr std::int64_t line = 64;  // bytes that come together
  const bool is_nf4 = w.format == QuantizedFormat::nf4;
  const std::uint8_t* codes = w.codes_of(row);
  for (std::int64_t c = tile.column; c < tile.end_column; c += is_nf4 ? 2 * line : line) {
    hwy::Prefetch(codes + (is_nf4 ? c / 2 : c));
  }
  const std::int64_t scale = row * w.blocks + (is_nf4 ? tile.column / nf4_block : 0);
  hwy::Prefetch(static_cast<const char*>(w.scales) + scale * (w.is_double ? 1 : std::int64_t{sizeof(float)}));
}

void TileToPairs(const QuantizedRows& w, const QuantizedTile& tile, std::int64_t first, std::int64_t panel_rows,
                 BFloat16* to) {
  constexpr std::int64_t ahead = 24;
  for (std::int64_t row = tile.row; row < tile.end_row; row += 2) {
    for (std::int64_t next = row + ahead; next < std::min(row + ahead + 2, tile.end_row); ++next) {
      prefetch_row(w, tile, next);
    }
    auto* pair = reinterpret_cast<std::uint32_t*>(to) + (first + row - tile.row) / 2 * panel_columns;
    for (std::int64_t column = tile.column; column < tile.end_column; column += panel_columns) {
      pair_to(w, row, row + 1 < tile.end_row, column, std::min(tile.end_column, column + panel_columns), pair);
      pair += panel_rows / 2 * panel_columns;
    }
  }
}

// Products of Count rows of x with a row of w. Blocks are summed as their values without the scale.
template <int Count>
void nf4_products(const QuantizedRows& w, std::int64_t row, const WideRows& x, float* y, std::int64_t y_step) {
  const std::int64_t odd_columns = x.step / 2, whole = w.columns / nf4_block;
  const std::uint8_t* const codes = w.codes_of(row);
  const Table table = table_of(1.0F, as_words);
  V sums[Count];
  for (V& sum : sums) sum = zero();
  for (std::int64_t block = 0; block < whole; ++block) {
    V even[Count], odd[Count];
    for (int m = 0; m < Count; ++m) even[m] = odd[m] = zero();
    for (std::int64_t i = block * nf4_block / 2; i < (block + 1) * nf4_block / 2; i += lanes) {
      const Words pair = bytes(codes + i);
      const V first = as_floats(table[hn::ShiftRight<4>(pair)]), second = as_floats(table[pair]);
      for (int m = 0; m < Count; ++m) {
        const float* const values = x.values + m * x.step + i;
        even[m] = hn::MulAdd(first, load(values), even[m]);
        odd[m] = hn::MulAdd(second, load(values + odd_columns), odd[m]);
      }
    }
    const V scale = set(w.scale(row, block));
    for (int m = 0; m < Count; ++m) sums[m] = hn::MulAdd(hn::Add(even[m], odd[m]), scale, sums[m]);
  }
  for (int m = 0; m < Count; ++m) {
    float rest = 0;
    for (std::int64_t i = whole * nf4_block; i < w.columns; ++i) {
      rest += nf4_value(codes, i) * w.scale(row, whole) * x.values[m * x.step + i % 2 * odd_columns + i / 2];
    }
    y[m * y_step] = hn::GetLane(hn::SumOfLanes(f32, sums[m])) + rest;
  }
}

template <int Count>
void int8_products(const QuantizedRows& w, std::int64_t row, const WideRows& x, float* y, std::int64_t y_step) {
  constexpr int vectors = Count <= 2 ? 4 : Count <= 4 ? 2 : 1;  // sums enough to hide the latency of an addition
  const std::uint8_t* const codes = w.codes_of(row);
  V sums[Count][vectors];
  for (auto& part : sums) {
    for (V& sum : part) sum = zero();
  }
  const auto add = [&](std::int64_t i, int v) {
    const V weights = integers(codes + i);
    for (int m = 0; m < Count; ++m) sums[m][v] = hn::MulAdd(weights, load(x.values + m * x.step + i), sums[m][v]);
  };
  std::int64_t i = 0;
  for (; i + vectors * lanes <= w.columns; i += vectors * lanes) {
    for (int v = 0; v < vectors; ++v) add(i + v * lanes, v);
  }
  for (; i + lanes <= w.columns; i += lanes) add(i, 0);
  for (int m = 0; m < Count; ++m) {
    V total = sums[m][0];
    for (int v = 1; v < vectors; ++v) total = hn::Add(total, sums[m][v]);
    float sum = hn::GetLane(hn::SumOfLanes(f32, total));
    for (std::int64_t k = i; k < w.columns; ++k) {
      sum += static_cast<float>(static_cast<std::int8_t>(codes[k])) * x.values[m * x.step + k];
    }
    y[m * y_step] = sum * w.scale(row, 0);
  }
}

template <int Count>
void products(const QuantizedRows& w, std::int64_t row, std::int64_t end_row, const WideRows& x, float* y,
              std::int64_t y_step) {
  const auto of_row = w.format == QuantizedFormat::nf4 ? nf4_products<Count> : int8_products<Count>;
  for (; row < end_row; ++row) of_row(w, row, x, y++, y_step);
}

void FewProducts(const QuantizedRows& w, std::int64_t row, std::int64_t end_row, const WideRows& x, float* y,
                 std::int64_t y_step) {
  using Function = void (*)(const QuantizedRows&, std::int64_t, std::int64_t, const WideRows&, float*, std::int64_t);
  constexpr Function of_count[most_few_rows] = {products<1>, products<2>, products<3>, products<4>,
                                                products<5>, products<6>, products<7>, products<8>};
  of_count[x.count - 1](w, row, end_row, x, y, y_step);
}

template <class T>
float largest(const T* x, std::int64_t n, bool& finite) {
  V all = zero(), sum = zero();
  each(n, [&](auto at) {
    const V value = at.get(x);
    all = hn::Max(all, hn::Abs(value));
    sum = hn::MulAdd(value, zero(), sum);  // NaN where one is not finite
  });
  finite = finite && hn::AllFalse(f32, hn::IsNaN(sum));
  return hn::GetLane(hn::MaxOfLanes(f32, all));
}

// 0 where the scale is zero, or too small to have an inverse: every element is zero then.
HWY_INLINE V inverse_of(float scale) {
  constexpr float least = std::numeric_limits<float>::min();
  return set(scale >= least ? 1 / scale : 0.0F);
}

// The nearest value: how many of the middles between neighbours lie below. x in [-1, 1].
HWY_INLINE auto nf4_code(V x) {
  auto code = hn::Zero(I32{});
  for (int i = 0; i + 1 < 16; ++i) {
    const auto middle = static_cast<float>((double{nf4_values[i]} + double{nf4_values[i + 1]}) / 2);
    code = hn::Sub(code, hn::VecFromMask(I32{}, hn::RebindMask(I32{}, hn::Gt(x, set(middle)))));
  }
  return code;
}

template <class T>
void nf4_quantize_block(const T* x, std::int64_t n, float scale, std::uint8_t* codes) {
  alignas(64) std::int32_t numbers[nf4_block + lanes] = {};
  const V inverse = inverse_of(scale);
  each(n, [&](auto at) { hn::StoreU(nf4_code(hn::Mul(at.get(x), inverse)), I32{}, numbers + at.index); });
  numbers[n] = 0;  // beside an odd last one
  for (std::int64_t i = 0; i < n; i += 2) codes[i / 2] = static_cast<std::uint8_t>(numbers[i] << 4 | numbers[i + 1]);
}

template <class T>
void int8_quantize_row(const T* x, std::int64_t n, float scale, std::int8_t* codes) {
  const V inverse = inverse_of(scale);
  alignas(64) std::int32_t numbers[lanes];
  each(n, [&](auto at) {
    hn::Store(hn::NearestInt(hn::Mul(at.get(x), inverse)), I32{}, numbers);
    for (std::int64_t i = 0; i < std::min(lanes, n - at.index); ++i) {
      codes[at.index + i] = static_cast<std::int8_t>(std::clamp(numbers[i], -127, 127));
    }
  });
}

template <class T>
bool quantize(QuantizedFormat format, const T* x, std::int64_t columns, std::uint8_t* codes, float* scales) {
  bool finite = true;
  if (format == QuantizedFormat::int8) {
    *scales = largest(x, columns, finite) / 127;
    int8_quantize_row(x, columns, *scales, reinterpret_cast<std::int8_t*>(codes));
    return finite;
  }
  for (std::int64_t i = 0; i < columns; i += nf4_block, ++scales) {
    const std::int64_t n = std::min(nf4_block, columns - i);
    *scales = largest(x + i, n, finite);
    nf4_quantize_block(x + i, n, *scales, codes + i / 2);
  }
  return finite;
}

bool QuantizeRow(QuantizedFormat format, const void* x, bool is_bf16, std::int64_t columns, std::uint8_t* codes,
                 float* scales) {
  return is_bf16 ? quantize(format, static_cast<const BFloat16*>(x), columns, codes, scales)
                 : quantize(format, static_cast<const float*>(x), columns, codes, scales);
}

}  // namespace
}  // namespace skymm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skymm {

HWY_EXPORT(TileToFloat);
HWY_EXPORT(TileToBFloat16);
HWY_EXPORT(TileToPairs);
HWY_EXPORT(FewProducts);
HWY_EXPORT(QuantizeRow);

QuantizedRows::QuantizedRows(const QuantizedTensor& x)
    : format(x.format),
      is_double(x.is_double()),
      rows(x.rows()),
      columns(x.columns()),
      blocks(x.blocks()),
      code_bytes(QuantizedTensor::code_bytes_of(x.format, x.columns())),
      codes(static_cast<const std::uint8_t*>(x.codes.raw())),
      scales(x.scales.raw()),
      steps(x.is_double() ? x.scale_steps.data<float>() : nullptr),
      offset(x.is_double() ? *x.scale_offset.data<float>() : 0.0F) {}

void dequantize_tile(const QuantizedRows& w, const QuantizedTile& tile, float* to, std::int64_t step) {
  HWY_DYNAMIC_DISPATCH(TileToFloat)(w, tile, to, step);
}

void dequantize_tile(const QuantizedRows& w, const QuantizedTile& tile, BFloat16* to, std::int64_t step) {
  HWY_DYNAMIC_DISPATCH(TileToBFloat16)(w, tile, to, step);
}

void dequantize_pairs(const QuantizedRows& w, const QuantizedTile& tile, std::int64_t first, std::int64_t panel_rows,
                      BFloat16* to) {
  HWY_DYNAMIC_DISPATCH(TileToPairs)(w, tile, first, panel_rows, to);
}

void few_products(const QuantizedRows& w, std::int64_t row, std::int64_t end_row, const WideRows& x, float* y,
                  std::int64_t y_step) {
  HWY_DYNAMIC_DISPATCH(FewProducts)(w, row, end_row, x, y, y_step);
}

bool quantize_row(QuantizedFormat format, const void* x, bool is_bf16, std::int64_t columns, std::uint8_t* codes,
                  float* scales) {
  return HWY_DYNAMIC_DISPATCH(QuantizeRow)(format, x, is_bf16, columns, codes, scales);
}

}  // namespace skymm
#endif
