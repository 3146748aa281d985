// Products with weights in few bits (core/quantized_tensor.hpp) on a CUDA device. Codes are read once a tile of the
// result, and dequantised between global and shared memory: the weight is in no place whole.
#pragma once

#include <span>

#include "core/quantized_tensor.hpp"
#include "ops/kernels/cuda/multiply.hpp"

namespace skymm::cuda {

// c = epilogue(a W^T), a [m, in], c [m, out]; W the rows of `parts` [out, in], one part after the other.
void multiply_quantized(const Matrix& a, std::span<const QuantizedTensor> parts, const Matrix& c,
                        const Epilogue& epilogue, Stream& stream, TileSize tiles = TileSize::automatic);
// c = a W (+ c where accumulate), a [m, out], c [m, in]
void multiply_quantized_transposed(const Matrix& a, std::span<const QuantizedTensor> parts, const Matrix& c,
                                   bool accumulate, Stream& stream, TileSize tiles = TileSize::automatic);
// to [rows, columns] f32 or bf16, adjacent in its rows
void dequantize(const QuantizedTensor& x, const Matrix& to, Stream& stream);

}  // namespace skymm::cuda
