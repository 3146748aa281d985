// Products for what oneDNN does not multiply itself: bf16 where the instruction set has no AVX-512, and empty sums.
#pragma once

#include "ops/kernels/cpu/matmul.hpp"

namespace skymm {

// As matmul of bf16 a and b: operands widened to f32, b by panels of columns, the result rounded once.
void matmul_widened(const Matrix& a, const Matrix& b, const Matrix& c, const Epilogue& epilogue);

// As matmul where k = 0.
void finish_empty(const Matrix& c, const Epilogue& epilogue);

}  // namespace skymm
