// The choice of a tile's size, and the launch of a product's kernel, for any source of its right operand.
#pragma once

#include "ops/kernels/cuda/multiply.hpp"
#include "ops/kernels/cuda/multiply_bf16.hpp"
#include "ops/kernels/cuda/multiply_f32.hpp"

namespace skymm::cuda {

// x as rows of adjacent elements in memory.
inline PlainRows rows_in_memory(const Matrix& x) {
  const Matrix rows = x.col_step == 1 ? x : x.transposed();
  const bool aligned = reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0 && rows.row_step % chunk == 0 &&
                       (x.batch == 1 || rows.batch_step % chunk == 0);
  return {static_cast<const bf16*>(x.data), rows.rows, rows.cols, rows.row_step, rows.batch_step, aligned};
}

inline PlainElements elements_of(const Matrix& x) {
  return {static_cast<const float*>(x.data), x.rows, x.cols, x.row_step, x.col_step, x.batch_step};
}

struct ProductLaunch {
  Matrix c;
  Epilogue epilogue;
  std::int64_t depth;  // k
  Stream& stream;
  TileSize tiles = TileSize::automatic;

  template <bool LeftTransposed, bool RightTransposed, class Right>
  void bf16(const PlainRows& left, const Right& right) const {
    switch (size()) {
      case TileSize::flat:
        return launch_bf16<FlatProduct, LeftTransposed, RightTransposed>(left, right);
      case TileSize::large:
        return launch_bf16<LargeProduct, LeftTransposed, RightTransposed>(left, right);
      default:
        return launch_bf16<SmallProduct, LeftTransposed, RightTransposed>(left, right);
    }
  }

  template <class Right>
  void f32(const PlainElements& left, const Right& right) const {
    size() == TileSize::large ? launch_f32<LargeScalar>(left, right) : launch_f32<SmallScalar>(left, right);
  }

 private:
  template <class S>
  dim3 grid() const {
    const std::int64_t blocks = (c.rows + S::m - 1) / S::m * ((c.cols + S::n - 1) / S::n);
    return {static_cast<unsigned>(blocks), 1, static_cast<unsigned>(c.batch)};
  }

  // Large tiles reuse more of what they read, where there are enough of them for two a multiprocessor of a large
  // device.
  TileSize size() const {
    if (tiles != TileSize::automatic) return tiles;
    if (c.rows <= FlatProduct::m) return TileSize::flat;
    constexpr std::int64_t filled = 2 * 108;
    const dim3 large = grid<LargeProduct>();
    return static_cast<std::int64_t>(large.x) * large.z >= filled ? TileSize::large : TileSize::small;
  }

  template <class S, bool LeftTransposed, bool RightTransposed, class Right>
  void launch_bf16(const PlainRows& left, const Right& right) const {
    launch(multiply_bf16<S, LeftTransposed, RightTransposed, Right>, grid<S>(), dim3(S::threads),
           shared_bytes<S, LeftTransposed, RightTransposed>(), stream, left, right, depth, Output(c, epilogue));
  }
  template <class S, class Right>
  void launch_f32(const PlainElements& left, const Right& right) const {
    launch(multiply_f32<S, Right>, grid<S>(), dim3(S::threads), 0, stream, left, right, depth, Output(c, epilogue));
  }
};

}  // namespace skymm::cuda
