// y += x for a block of a product: x f32, y f32 or bf16, summed in f32.
#pragma once

#include "ops/kernels/cpu/matmul.hpp"

namespace skymm {

// Rows of both are adjacent.
void add_block(const Matrix& x, const Matrix& y);

}  // namespace skymm
