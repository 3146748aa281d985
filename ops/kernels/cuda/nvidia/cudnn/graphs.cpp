#include "ops/kernels/cuda/nvidia/cudnn/graphs.hpp"

#include <limits>

namespace skymm::cuda::cudnn {
namespace {

using Value = Graph::Value;
constexpr cudnnDataType_t bf16 = CUDNN_DATA_BFLOAT16, f32 = CUDNN_DATA_FLOAT;

// cuDNN knows attention by the very operations that its own front end writes it in, so these keep to them.
class Builder {
 public:
  explicit Builder(const AttentionSizes& sizes) : s_(sizes) {}

  // [sequences, heads, tokens, width] of memory that is by tokens; transposed: the last two.
  Value heads(std::int64_t heads, std::int64_t tokens, const HeadSteps& steps) {
    return graph.memory({s_.sequences, heads, tokens, s_.width}, {tokens * steps.token, steps.head, steps.token, 1},
                        bf16);
  }
  Value transposed_heads(std::int64_t heads, std::int64_t tokens, const HeadSteps& steps) {
    return graph.memory({s_.sequences, heads, s_.width, tokens}, {tokens * steps.token, steps.head, 1, steps.token},
                        bf16);
  }
  Value statistics() { return graph.memory(per_query_, row_major(per_query_), f32); }

  Value on_scores(cudnnPointwiseMode_t mode, std::initializer_list<Value> from, cudnnDataType_t type = f32) {
    const Value to = graph.inner(scores_, type);
    graph.pointwise(mode, from, to);
    return to;
  }
  Value product(Value a, Value b) {  // of the scores' shape
    const Value to = graph.inner(scores_);
    graph.matmul(a, b, to);
    return to;
  }

  // The scaled scores.
  Value scores(Value q, Value transposed_k) {
    return on_scores(CUDNN_POINTWISE_MUL, {product(q, transposed_k), graph.number(s_.scale)});
  }
  // -infinity where a query does not see a key.
  Value masked(Value x) {
    if (!s_.causal) return x;
    const Value query = graph.inner(scores_, CUDNN_DATA_INT32), key = graph.inner(scores_, CUDNN_DATA_INT32);
    const Value seen = graph.inner(scores_, CUDNN_DATA_BOOLEAN);
    graph.pointwise(CUDNN_POINTWISE_GEN_INDEX, {x}, query, f32, 2);
    graph.pointwise(CUDNN_POINTWISE_GEN_INDEX, {x}, key, f32, 3);
    graph.pointwise(CUDNN_POINTWISE_CMP_GE, {query, key}, seen, CUDNN_DATA_BOOLEAN);
    const Value never = graph.number(-std::numeric_limits<float>::infinity());
    return on_scores(CUDNN_POINTWISE_BINARY_SELECT, {x, never, seen});
  }
  Value per_query(cudnnReduceTensorOp_t operation, Value from) {
    const Value to = graph.inner(per_query_);
    graph.reduce(operation, from, to);
    return to;
  }
  // x [.., queries, keys] with its last two turned, in bf16.
  Value turned(Value x) {
    const Value to = graph.inner({s_.sequences, s_.heads, s_.keys, s_.queries},
                                 {s_.heads * s_.queries * s_.keys, s_.queries * s_.keys, 1, s_.keys}, bf16);
    graph.reshape(x, to);
    return to;
  }
  // to = a b, [sequences, heads, keys, width]: summed over the heads that share one of k's.
  void product_of_key_heads(Value a, Value b, Value to) {
    if (s_.heads == s_.kv_heads) return graph.matmul(a, b, to);
    const Value every = graph.inner({s_.sequences, s_.heads, s_.keys, s_.width}, bf16);
    graph.matmul(a, b, every);
    graph.reduce(CUDNN_REDUCE_TENSOR_ADD, every, to);
  }

  Graph graph;

 private:
  const AttentionSizes& s_;
  const Sizes scores_{s_.sequences, s_.heads, s_.queries, s_.keys};
  const Sizes per_query_{s_.sequences, s_.heads, s_.queries, 1};
};

GraphOf<AttentionMemory> forward_graph(const AttentionSizes& s) {
  Builder b(s);
  AttentionMemory m;
  m.q = b.heads(s.heads, s.queries, s.q);
  m.k = b.transposed_heads(s.kv_heads, s.keys, s.k);
  m.v = b.heads(s.kv_heads, s.keys, s.v);
  m.out = b.heads(s.heads, s.queries, s.out);
  m.logsumexp = b.statistics();

  const Value scores = b.masked(b.scores(m.q, m.k));
  const Value largest = b.per_query(CUDNN_REDUCE_TENSOR_MAX, scores);
  const Value exponentials = b.on_scores(CUDNN_POINTWISE_EXP, {b.on_scores(CUDNN_POINTWISE_SUB, {scores, largest})});
  const Value sum = b.per_query(CUDNN_REDUCE_TENSOR_ADD, exponentials);
  const Value logarithm = b.graph.inner({s.sequences, s.heads, s.queries, 1});
  b.graph.pointwise(CUDNN_POINTWISE_LOG, {sum}, logarithm);
  b.graph.pointwise(CUDNN_POINTWISE_ADD, {largest, logarithm}, m.logsumexp);
  b.graph.matmul(b.on_scores(CUDNN_POINTWISE_DIV, {exponentials, sum}, bf16), m.v, m.out);
  return {std::move(b.graph), m};
}

// dq is a product of whole rows of scores, which cuDNN keeps in its workspace for that: the other way, a sum in f32 of
// what each tile of keys adds, comes in no fixed order.
GraphOf<AttentionMemory> gradient_graph(const AttentionSizes& s) {
  Builder b(s);
  AttentionMemory m;
  m.dout = b.heads(s.heads, s.queries, s.dout);
  m.q = b.heads(s.heads, s.queries, s.q);
  m.k = b.transposed_heads(s.kv_heads, s.keys, s.k);
  m.v = b.transposed_heads(s.kv_heads, s.keys, s.v);
  m.out = b.heads(s.heads, s.queries, s.out);
  m.logsumexp = b.statistics();
  m.delta = b.statistics();
  m.dq = b.heads(s.heads, s.queries, s.dq);
  m.dk = b.heads(s.kv_heads, s.keys, s.dk);
  m.dv = b.heads(s.kv_heads, s.keys, s.dv);

  // delta = rows of dout * out
  const Value products = b.graph.inner({s.sequences, s.heads, s.queries, s.width});
  b.graph.pointwise(CUDNN_POINTWISE_MUL, {m.dout, m.out}, products);
  const Value sums = b.per_query(CUDNN_REDUCE_TENSOR_ADD, products);
  b.graph.pointwise(CUDNN_POINTWISE_MUL, {sums, b.graph.number(1.0F)}, m.delta);
  // shares = exp(scores - logsumexp); dv = shares^T dout
  const Value shifted = b.on_scores(CUDNN_POINTWISE_SUB, {b.scores(m.q, m.k), m.logsumexp});
  const Value shares = b.on_scores(CUDNN_POINTWISE_EXP, {b.masked(shifted)});
  b.product_of_key_heads(b.turned(shares), m.dout, m.dv);
  // dscores = scale shares (dout v^T - delta); dk = dscores^T q; dq = dscores k
  const Value dshares = b.on_scores(CUDNN_POINTWISE_SUB, {b.product(m.dout, m.v), m.delta});
  const Value unscaled = b.on_scores(CUDNN_POINTWISE_MUL, {dshares, shares});
  const Value dscores = b.on_scores(CUDNN_POINTWISE_MUL, {unscaled, b.graph.number(s.scale)});
  b.product_of_key_heads(b.turned(dscores), m.q, m.dk);
  const Value keys =
      b.graph.inner({s.sequences, s.kv_heads, s.keys, s.width}, {s.keys * s.k.token, s.k.head, s.k.token, 1}, f32);
  b.graph.reshape(m.k, keys);
  b.graph.matmul(dscores, keys, m.dq);
  return {std::move(b.graph), m};
}

}  // namespace

GraphOf<AttentionMemory> graph_of(const AttentionSizes& sizes) {
  return sizes.gradient ? gradient_graph(sizes) : forward_graph(sizes);
}

GraphOf<PatchMemory> graph_of(const PatchSizes& s) {
  Graph graph;
  PatchMemory m;
  const Sizes image{s.images, s.channels, s.height, s.width}, window{s.out, s.channels, s.patch, s.patch};
  const Sizes to{s.images, s.out, s.height / s.patch, s.width / s.patch};
  const Sizes to_steps{to[2] * to[3] * s.out, 1, to[3] * s.out, s.out};
  m.pixels = graph.memory(image, row_major(image), bf16);
  m.weight = graph.memory(window, row_major(window), bf16);
  m.y = graph.memory(to, to_steps, bf16);
  if (!s.bias) {
    graph.convolve(m.pixels, m.weight, m.y);
  } else {
    m.bias = graph.memory({1, s.out, 1, 1}, {s.out, 1, s.out, s.out}, bf16);
    const Value product = graph.inner(to, to_steps, f32);
    graph.convolve(m.pixels, m.weight, product);
    graph.pointwise(CUDNN_POINTWISE_ADD, {product, m.bias}, m.y);
  }
  return {std::move(graph), m};
}

}  // namespace skymm::cuda::cudnn
