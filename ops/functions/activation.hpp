// Functions that work element by element, differentiable. x: [T, D], f32 or bf16.
#pragma once

#include "core/graph.hpp"
#include "ops/kernels/kernels.hpp"

namespace skymm {

Variable activation(const Variable& x, Activation kind);

// silu(gate) * up (Shazeer 2020). gate_up: [T, 2 F] = [gate | up] -> [T, F].
Variable swiglu(const Variable& gate_up);

// Inverted dropout: zero with probability p, else x / (1 - p). row_ids i32 [T, 2]: see Kernels::dropout. p = 0: x.
Variable dropout(const Variable& x, float p, const RandomKey& key, const Tensor& row_ids);

Variable add(const Variable& x, const Variable& y);
Variable scale(const Variable& x, float factor);

}  // namespace skymm
