// Products for what oneDNN does not multiply itself: bf16 where the instruction set has no AVX-512, and empty sums; and
// what follows a product that something else made.
#pragma once

#include "ops/kernels/cpu/matmul.hpp"

namespace skymm {

using MultiplyBlock = void (*)(const Matrix& a, const Matrix& b, const Matrix& c, const Epilogue& epilogue);

// One block of c = a b with bf16 operands, by this thread: widened to f32, multiplied by `multiply`, rounded once.
void multiply_widened(const Matrix& a, const Matrix& b, const Matrix& c, const Epilogue& epilogue,
                      MultiplyBlock multiply);

// c = activation(product + bias) (+ c): product f32 of c's shape, its rows adjacent; null: zero. alpha is not looked
// at.
void finish_product(const float* product, const Matrix& c, const Epilogue& epilogue);

// As matmul where k = 0.
void finish_empty(const Matrix& c, const Epilogue& epilogue);

}  // namespace skymm
