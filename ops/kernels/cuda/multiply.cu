#include "ops/kernels/cuda/multiply.hpp"
#include "ops/kernels/cuda/multiply_launch.hpp"

namespace skymm::cuda {
void multiply(const Matrix& a, const Matrix& b, const Matrix& c, const Epilogue& epilogue, Stream& stream,
              TileSize tiles) {
  if (c.rows == 0 || c.cols == 0 || c.batch == 0) return;
  if (tiles == TileSize::automatic && multiply_by_library(a, b, c, epilogue, stream)) return;
  const ProductLaunch launch{c, epilogue, a.cols, stream, tiles};
  if (a.dtype == DType::f32) {
    launch.f32(elements_of(a), elements_of(b.transposed()));
  } else if (a.col_step == 1) {
    b.col_step == 1 ? launch.bf16<false, true>(rows_in_memory(a), rows_in_memory(b))
                    : launch.bf16<false, false>(rows_in_memory(a), rows_in_memory(b));
  } else {
    b.col_step == 1 ? launch.bf16<true, true>(rows_in_memory(a), rows_in_memory(b))
                    : launch.bf16<true, false>(rows_in_memory(a), rows_in_memory(b));
  }
}

}  // namespace skymm::cuda
