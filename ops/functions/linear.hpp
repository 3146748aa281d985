// Linear maps, differentiable, with LoRA (Hu et al. 2021). Rows are tokens: y = x W^T + b.
#pragma once

#include <vector>

#include "core/graph.hpp"
#include "ops/kernels/kernels.hpp"

namespace skymm {

// A low-rank addition to a linear map: y += scaling * dropout(x) A^T B^T. a: [r, in], b: [out, r].
struct LoraTerm {
  Parameter* a = nullptr;
  Parameter* b = nullptr;
  float scaling = 1.0F;
  float dropout = 0.0F;  // of x, while training
  RandomKey random;      // of the dropout
};

// One of the maps that share an input: `out` columns of their common output. Its weight [out, in] and bias [out] are
// the rows from first_row on of parameters (of any shape whose rows are `in` elements); both may be null.
struct LinearTerm {
  std::int64_t out = 0;
  Parameter* weight = nullptr;
  Parameter* bias = nullptr;
  std::int64_t first_row = 0;
  std::int64_t lora = -1;  // its place in LinearMaps::loras; -1: none
};

// Maps that share an input, as one product.
struct LinearMaps {
  LinearWeightPtr weight;  // [sum of outs, in]: the terms' weights, one after the other
  Tensor bias;             // [sum of outs] or undefined
  std::vector<LinearTerm> terms;
  std::vector<LoraTerm> loras;  // in the order of terms
  Tensor lora_a;                // [sum of ranks, in]: their A's as one tensor that the parameters view; or undefined
  Tensor row_ids;               // for dropout
};

// x: [T, in] -> [T, sum of outs].
Variable linear(const Variable& x, const LinearMaps& maps, Activation activation = Activation::none);

// linear() of the patches of pixels [images, channels, height, width], without activation: [images * patches, sum of
// outs]. The patches are kept only where a weight trains.
Variable patch_embedding(const Variable& pixels, std::int64_t patch, const LinearMaps& maps);

// linear(swiglu(gate_up), maps), but what is kept for the gradient is gate_up alone: the product silu(gate) * up is
// made again, which costs less than its memory.
Variable swiglu_linear(const Variable& gate_up, const LinearMaps& maps);

// residual + linear(x, maps). Where no gradient passes through, `residual` is consumed: its tensor becomes the result.
Variable add_linear(const Variable& residual, const Variable& x, const LinearMaps& maps);

// y = x matrix, matrix: [in, out].
Variable matmul(const Variable& x, Parameter& matrix);

// z = factor x y^T, x: [m, k], y: [n, k].
Variable matmul_transposed(const Variable& x, const Variable& y, float factor = 1.0F);

}  // namespace skymm
