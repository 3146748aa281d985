#include "ops/kernels/cpu/block_add.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/kernels/cpu/block_add.cpp"
// clang-format off: the order matters
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/kernels/cpu/tile-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace skymm {
namespace HWY_NAMESPACE {

template <class T>
void add_rows_of_block(const Matrix& x, const Matrix& y) {
  const std::int64_t whole = x.cols / lanes() * lanes();
  for (std::int64_t r = 0; r < x.rows; ++r) {
    const float* from = static_cast<const float*>(x.data) + r * x.row_step;
    T* to = static_cast<T*>(y.data) + r * y.row_step;
    for (std::int64_t i = 0; i < whole; i += lanes()) store(hn::Add(load(from + i), load(to + i)), to + i);
    for (std::int64_t i = whole; i < x.cols; ++i) to[i] = static_cast<T>(static_cast<float>(to[i]) + from[i]);
  }
}

void AddBlock(const Matrix& x, const Matrix& y) {
  y.dtype == DType::bf16 ? add_rows_of_block<BFloat16>(x, y) : add_rows_of_block<float>(x, y);
}

}  // namespace HWY_NAMESPACE
}  // namespace skymm
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skymm {
HWY_EXPORT(AddBlock);
void add_block(const Matrix& x, const Matrix& y) { HWY_DYNAMIC_DISPATCH(AddBlock)(x, y); }
}  // namespace skymm
#endif
