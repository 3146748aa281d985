// Matrix products on a CUDA device, over raw memory: what gemm, linear and their gradients enqueue.
#pragma once

#include "core/stream.hpp"
#include "ops/kernels/matrix.hpp"

namespace skymm::cuda {

// How large a tile of c one block of threads makes. `automatic` takes the one that fills the device; the others are for
// tests and measurements.
enum class TileSize : std::uint8_t { automatic, flat, small, large };

// c = epilogue(a b), as the CPU's matmul: a [m, k], b [k, n], c [m, n], or batches of them; a and b of one dtype; c f32
// or theirs, adjacent in its rows. Any of m, n, k may be 0. Sums are in f32, in an order that depends on the shapes
// alone.
void multiply(const Matrix& a, const Matrix& b, const Matrix& c, const Epilogue& epilogue, Stream& stream,
              TileSize tiles = TileSize::automatic);

// The same by cuBLASLt. False, and nothing is enqueued, where the hand-written product does what cuBLASLt does not (see
// cublaslt.hpp), and where it refuses.
bool multiply_by_library(const Matrix& a, const Matrix& b, const Matrix& c, const Epilogue& epilogue, Stream& stream);

}  // namespace skymm::cuda
