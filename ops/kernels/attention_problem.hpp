// Attention over raw memory: steps in elements. Made, with the checks of its tensors, by every backend before it
// enqueues.
#pragma once

#include "ops/kernels/kernels.hpp"

namespace skymm {

// [tokens, heads, width], the width adjacent.
struct Heads {
  void* data = nullptr;
  DType dtype = DType::f32;
  std::int64_t token_step = 0, head_step = 0;
};

struct AttentionProblem {
  Heads q, k, v, out, dout, dq, dk, dv;
  float* logsumexp = nullptr;  // [queries, heads], by steps
  std::int64_t logsumexp_token_step = 0, logsumexp_head_step = 0;
  std::int64_t width = 0;
  std::int64_t group = 1;  // query heads that share one key head
  bool causal = false;
  float scale = 1.0F;
};

// Both throw Error, in the name of the primitive, where tensors do not fit. The gradient's also has dout, dq, dk and
// dv.
AttentionProblem attention_problem(const char* primitive, const Tensor& q, const Tensor& k, const Tensor& v,
                                   const AttentionShape& shape, const Tensor& out, const Tensor& logsumexp);
AttentionProblem attention_gradient_problem(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v,
                                            const Tensor& out, const Tensor& logsumexp, const AttentionShape& shape,
                                            const Tensor& dq, const Tensor& dk, const Tensor& dv);

}  // namespace skymm
