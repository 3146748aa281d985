#include "ops/functions/attention.hpp"

#include "core/error.hpp"

namespace skymm {
namespace {

// `count` heads from head `first` on, of rows that are heads of one width: [T, count, width].
Tensor heads_of(const Tensor& x, std::int64_t first, std::int64_t count, std::int64_t width) {
  return x.slice(1, first * width, (first + count) * width).split_last(count, width);
}

struct Forward {
  Tensor out;        // [Tq, H D]
  Tensor logsumexp;  // f32 [Tq, H]
};

Forward attend(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionShape& shape) {
  const std::int64_t rows = q.dim(0), heads = q.dim(1), width = q.dim(2);
  Forward forward{Tensor::empty({rows, heads * width}, q.dtype(), q.device()),
                  Tensor::empty({rows, heads}, DType::f32, q.device())};
  kernels(q).attention(q, k, v, shape, forward.out.split_last(heads, width), forward.logsumexp);
  return forward;
}

void require_width(const Tensor& x, std::int64_t width, std::string_view name) {
  check(x.rank() == 2 && x.dim(1) == width, "attention: {} has shape {}, its rows should be {} wide", name, x.shape(),
        width);
}

}  // namespace

Variable self_attention(const Variable& qkv, const HeadCounts& heads, const AttentionShape& shape,
                        const Rotary& rotary) {
  const auto [h, kv, width] = heads;
  const Tensor& x = qkv.value();
  require_width(x, (h + 2 * kv) * width, "qkv");
  Kernels& run = kernels(x);
  if (rotary.positions.defined()) {  // queries and keys lie side by side
    const Tensor turned = heads_of(x, 0, h + kv, width);
    run.rotary_embedding(turned, rotary.positions, rotary.theta, false, turned);
  }
  const Tensor q = heads_of(x, 0, h, width), k = heads_of(x, h, kv, width), v = heads_of(x, h + kv, kv, width);
  const auto [out, logsumexp] = attend(q, k, v, shape);

  return qkv.graph().record(
      out, {.name = "self_attention",
            .inputs = {qkv},
            .input_gradient = [&run, x, out, logsumexp, heads, shape, rotary](const NodeGradients& gradients) {
              const auto [h, kv, width] = heads;  // x holds q and k as they were turned
              const Tensor dx = x.empty_like();
              run.attention_gradient(gradients.output().split_last(h, width), heads_of(x, 0, h, width),
                                     heads_of(x, h, kv, width), heads_of(x, h + kv, kv, width),
                                     out.split_last(h, width), logsumexp, shape, heads_of(dx, 0, h, width),
                                     heads_of(dx, h, kv, width), heads_of(dx, h + kv, kv, width));
              if (rotary.positions.defined()) {
                const Tensor turned = heads_of(dx, 0, h + kv, width);
                run.rotary_embedding(turned, rotary.positions, rotary.theta, true, turned);
              }
              gradients.add(0, dx);
            }});
}

Variable cached_self_attention(const Variable& qkv, const HeadCounts& heads, const AttentionShape& shape,
                               const Rotary& rotary, const Tensor& cache, const Tensor& rows) {
  const auto [h, kv, width] = heads;
  const Tensor& x = qkv.value();
  require_width(x, (h + 2 * kv) * width, "qkv");
  require_width(cache, 2 * kv * width, "the cache");
  check(!qkv.needs_gradient(), "attention with cached keys is for inference; no gradient passes through it");
  Kernels& run = kernels(x);
  if (rotary.positions.defined()) {
    const Tensor turned = heads_of(x, 0, h + kv, width);
    run.rotary_embedding(turned, rotary.positions, rotary.theta, false, turned);
  }
  run.scatter_rows(x.slice(1, h * width, (h + 2 * kv) * width), rows, cache);
  return qkv.graph().constant(
      attend(heads_of(x, 0, h, width), heads_of(cache, 0, kv, width), heads_of(cache, kv, kv, width), shape).out);
}

Variable cross_attention(const Variable& q, const Variable& kv, const HeadCounts& heads, const AttentionShape& shape) {
  const std::int64_t h = heads.queries, hkv = heads.keys_values, width = heads.width;
  require_width(q.value(), h * width, "q");
  require_width(kv.value(), 2 * hkv * width, "kv");
  const Tensor queries = q.value().split_last(h, width);
  const Tensor keys = heads_of(kv.value(), 0, hkv, width), values = heads_of(kv.value(), hkv, hkv, width);
  const auto [out, logsumexp] = attend(queries, keys, values, shape);

  return q.graph().record(
      out,
      {.name = "cross_attention",
       .inputs = {q, kv},
       .input_gradient = [q = queries, kv = kv.value(), out, logsumexp, heads, shape](const NodeGradients& gradients) {
         const std::int64_t h = heads.queries, hkv = heads.keys_values, width = heads.width;
         const Tensor dq = Tensor::empty({q.dim(0), h * width}, q.dtype(), q.device());
         const Tensor dkv = kv.empty_like();
         kernels(q).attention_gradient(gradients.output().split_last(h, width), q, heads_of(kv, 0, hkv, width),
                                       heads_of(kv, hkv, hkv, width), out.split_last(h, width), logsumexp, shape,
                                       dq.split_last(h, width), heads_of(dkv, 0, hkv, width),
                                       heads_of(dkv, hkv, hkv, width));
         gradients.add(0, dq);
         gradients.add(1, dkv);
       }});
}

Variable cross_attention(const Variable& q, const Variable& k, const Variable& v, const HeadCounts& heads,
                         const AttentionShape& shape) {
  require_width(q.value(), heads.queries * heads.width, "q");
  require_width(k.value(), heads.keys_values * heads.width, "k");
  require_width(v.value(), heads.keys_values * heads.width, "v");
  const Tensor queries = q.value().split_last(heads.queries, heads.width);
  const Tensor keys = k.value().split_last(heads.keys_values, heads.width);
  const Tensor values = v.value().split_last(heads.keys_values, heads.width);
  const auto [out, logsumexp] = attend(queries, keys, values, shape);

  return q.graph().record(
      out,
      {.name = "cross_attention",
       .inputs = {q, k, v},
       .input_gradient = [q = queries, k = keys, v = values, out, logsumexp, shape](const NodeGradients& gradients) {
         const std::int64_t h = q.dim(1), hkv = k.dim(1), width = q.dim(2);
         const Tensor dq = Tensor::empty({q.dim(0), h * width}, q.dtype(), q.device());
         const Tensor dk = Tensor::empty({k.dim(0), hkv * width}, q.dtype(), q.device());
         const Tensor dv = dk.empty_like();
         kernels(q).attention_gradient(gradients.output().split_last(h, width), q, k, v, out.split_last(h, width),
                                       logsumexp, shape, dq.split_last(h, width), dk.split_last(hkv, width),
                                       dv.split_last(hkv, width));
         gradients.add(0, dq);
         gradients.add(1, dk);
         gradients.add(2, dv);
       }});
}

Variable rotary_embedding(const Variable& x, std::int64_t heads, const Rotary& rotary) {
  Kernels& run = kernels(x.value());
  const std::int64_t width = x.value().dim(1) / heads;
  const Tensor y = x.value().empty_like();
  run.rotary_embedding(x.value().split_last(heads, width), rotary.positions, rotary.theta, false,
                       y.split_last(heads, width));
  return x.graph().record(y, {.name = "rotary_embedding",
                              .inputs = {x},
                              .input_gradient = [&run, rotary, heads, width](const NodeGradients& gradients) {
                                const Tensor dx = gradients.output().empty_like();
                                run.rotary_embedding(gradients.output().split_last(heads, width), rotary.positions,
                                                     rotary.theta, true, dx.split_last(heads, width));
                                gradients.add(0, dx);
                              }});
}

}  // namespace skymm
