#include "ops/kernels/attention_problem.hpp"

#include "core/error.hpp"
#include "ops/kernels/one_device.hpp"

namespace skymm {
namespace {

Heads heads_of(const Tensor& x, const char* primitive, const char* name) {
  check(x.defined() && x.rank() == 3, "{}: {} must be [tokens, heads, width]", primitive, name);
  check(x.dtype() == DType::f32 || x.dtype() == DType::bf16, "{}: {} is {}; it must be f32 or bf16", primitive, name,
        name_of(x.dtype()));
  check(x.stride(2) == 1 || x.dim(2) <= 1, "{}: the elements of a head of {} are not adjacent", primitive, name);
  return {x.numel() == 0 ? nullptr : x.raw(), x.dtype(), x.stride(0), x.stride(1)};
}

void check_offsets(const Tensor& offsets, const char* primitive, const char* name) {
  check(offsets.defined() && offsets.rank() == 1 && offsets.dim(0) >= 1 && offsets.dtype() == DType::i32 &&
            offsets.is_contiguous(),
        "{}: {} must be i32 [sequences + 1], contiguous", primitive, name);
}

void check_same(const Tensor& x, const Tensor& y, const char* primitive, const char* x_name, const char* y_name) {
  check(x.shape() == y.shape() && x.dtype() == y.dtype(), "{}: {} is {} {} but {} is {} {}", primitive, x_name,
        name_of(x.dtype()), x.shape(), y_name, name_of(y.dtype()), y.shape());
}

}  // namespace

AttentionProblem attention_problem(const char* primitive, const Tensor& q, const Tensor& k, const Tensor& v,
                                   const AttentionShape& shape, const Tensor& out, const Tensor& logsumexp) {
  AttentionProblem p;
  p.q = heads_of(q, primitive, "q");
  p.k = heads_of(k, primitive, "k");
  p.v = heads_of(v, primitive, "v");
  p.out = heads_of(out, primitive, "out");
  check_same(q, out, primitive, "q", "out");
  check_same(k, v, primitive, "k", "v");
  check(q.dtype() == k.dtype() && q.dim(2) == k.dim(2) && k.dim(1) > 0 && q.dim(1) % k.dim(1) == 0,
        "{}: q {} {} does not fit k {} {}: one dtype and width, and heads a multiple of k's", primitive,
        name_of(q.dtype()), q.shape(), name_of(k.dtype()), k.shape());
  check(logsumexp.defined() && logsumexp.dtype() == DType::f32 && logsumexp.shape() == Shape({q.dim(0), q.dim(1)}),
        "{}: logsumexp must be f32 [{}, {}]", primitive, q.dim(0), q.dim(1));
  check_offsets(shape.query_offsets, primitive, "query_offsets");
  check_offsets(shape.key_offsets, primitive, "key_offsets");
  check(shape.query_offsets.dim(0) == shape.key_offsets.dim(0),
        "{}: query_offsets are of {} sequences, key_offsets of {}", primitive, shape.query_offsets.dim(0) - 1,
        shape.key_offsets.dim(0) - 1);
  if (shape.key_lengths.defined()) {
    check(shape.key_lengths.dtype() == DType::i32 && shape.key_lengths.is_contiguous() &&
              shape.key_lengths.numel() == shape.key_offsets.dim(0) - 1,
          "{}: key_lengths must be i32 [sequences], contiguous", primitive);
  }
  check_one_device(primitive,
                   {&q, &k, &v, &out, &logsumexp, &shape.query_offsets, &shape.key_offsets, &shape.key_lengths});
  p.logsumexp = logsumexp.numel() == 0 ? nullptr : logsumexp.data<float>();
  p.logsumexp_token_step = logsumexp.stride(0);
  p.logsumexp_head_step = logsumexp.stride(1);
  p.width = q.dim(2);
  p.group = q.dim(1) / k.dim(1);
  p.causal = shape.causal;
  p.scale = shape.scale;
  return p;
}

AttentionProblem attention_gradient_problem(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v,
                                            const Tensor& out, const Tensor& logsumexp, const AttentionShape& shape,
                                            const Tensor& dq, const Tensor& dk, const Tensor& dv) {
  const char* const name = "attention_gradient";
  AttentionProblem problem = attention_problem(name, q, k, v, shape, out, logsumexp);
  check(!shape.key_lengths.defined(), "attention_gradient: keys that are still to come have no gradient");
  problem.dout = heads_of(dout, name, "dout");
  problem.dq = heads_of(dq, name, "dq");
  problem.dk = heads_of(dk, name, "dk");
  problem.dv = heads_of(dv, name, "dv");
  check_one_device(name, {&q, &dout, &dq, &dk, &dv});
  check_same(q, dout, name, "q", "dout");
  check_same(q, dq, name, "q", "dq");
  check_same(k, dk, name, "k", "dk");
  check_same(v, dv, name, "v", "dv");
  return problem;
}

}  // namespace skymm
