// Products for what oneDNN does not multiply itself: bf16 where the instruction set has no AVX-512, and empty sums.
#pragma once

#include "ops/kernels/cpu/matmul.hpp"

namespace skymm {

using MultiplyBlock = void (*)(const Matrix& a, const Matrix& b, const Matrix& c, const Epilogue& epilogue);

// One block of c = a b with bf16 operands, by this thread: widened to f32, multiplied by `multiply`, rounded once.
void multiply_widened(const Matrix& a, const Matrix& b, const Matrix& c, const Epilogue& epilogue,
                      MultiplyBlock multiply);

// As matmul where k = 0.
void finish_empty(const Matrix& c, const Epilogue& epilogue);

}  // namespace skymm
