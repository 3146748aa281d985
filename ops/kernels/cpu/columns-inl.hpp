// Sums down columns, in the same order for any number of threads: threads share the columns, and each column is summed
// in blocks of 64 rows, one block after the other.
#if defined(SKYMM_OPS_KERNELS_CPU_COLUMNS_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef SKYMM_OPS_KERNELS_CPU_COLUMNS_INL_HPP
#undef SKYMM_OPS_KERNELS_CPU_COLUMNS_INL_HPP
#else
#define SKYMM_OPS_KERNELS_CPU_COLUMNS_INL_HPP
#endif

#include "ops/kernels/cpu/arguments.hpp"
#include "ops/kernels/cpu/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace skymm::HWY_NAMESPACE {
namespace {

struct ColumnSpace {
  std::int64_t rows, width, first = 0, step = 1;  // the rows first, first + step, ... below `rows`
};

// The columns [begin, end) of add_column_sums.
template <class F>
HWY_INLINE void add_columns(const ColumnSpace& space, std::int64_t begin, std::int64_t end, float* out, const F& row) {
  constexpr std::int64_t most_columns = 1024, block = 64;
  alignas(64) float sums[most_columns];
  for (std::int64_t column = begin; column < end; column += most_columns) {
    const std::int64_t columns = std::min(most_columns, end - column);
    for (std::int64_t from = space.first; from < space.rows; from += block * space.step) {
      const std::int64_t to = std::min(space.rows, from + block * space.step);
      std::memset(sums, 0, sizeof(sums));
      for (std::int64_t t = from; t < to; t += space.step) {
        const auto term = row(t);
        each(columns, [&](auto at) { at.put(sums, hn::Add(at.get(sums), term(at.shifted(column)))); });
      }
      each(columns, [&](auto at) { at.put(out + column, hn::Add(at.get(out + column), at.get(sums))); });
    }
  }
}

// out[j] += the sum over the rows t of space of row(t)'s value at j; row(t) gives a function of `at`.
template <class F>
void add_column_sums(const ColumnSpace& space, float* out, const F& row) {
  constexpr std::int64_t unit = 16;  // columns, so that no vector straddles two threads
  const std::int64_t units = (space.width + unit - 1) / unit;
  const std::int64_t count = (space.rows + space.step - 1) / space.step;
  parallel_pieces(units, unit * count, [&](std::int64_t begin, std::int64_t end) {
    add_columns(space, begin * unit, std::min(space.width, end * unit), out, row);
  });
}

}  // namespace
}  // namespace skymm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
