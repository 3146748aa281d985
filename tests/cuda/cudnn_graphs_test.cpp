// What the graphs for cuDNN mean: evaluated operation by operation in double precision, as cuDNN defines them, they are
// attention, its gradient and patch embedding.
#include <fmt/format.h>

#include <map>

#include "core/random.hpp"
#include "ops/kernels/cuda/nvidia/cudnn/graphs.hpp"
#include "ops/kernels/kernels.hpp"
#include "ops/reference/reference_attention.hpp"

namespace skymm::testing {
namespace {

using namespace cuda::cudnn;
using Value = Graph::Value;
using Place = Graph::Operand::Place;
using Kind = Graph::Operation::Kind;

std::int64_t last_element(const Graph::Operand& x) {
  std::int64_t at = 0;
  for (std::size_t i = 0; i < 4; ++i) at += (x.sizes[i] - 1) * x.steps[i];
  return at;
}

template <class F>
void each_index(const Sizes& sizes, F f) {
  Sizes i;
  for (i[0] = 0; i[0] < sizes[0]; ++i[0]) {
    for (i[1] = 0; i[1] < sizes[1]; ++i[1]) {
      for (i[2] = 0; i[2] < sizes[2]; ++i[2]) {
        for (i[3] = 0; i[3] < sizes[3]; ++i[3]) f(i);
      }
    }
  }
}

class Evaluation {
 public:
  // memory: elements by where they are.
  Evaluation(const Graph& graph, const std::map<Value, Values>& memory) : graph_(graph) {
    for (const Graph::Operand& x : graph.operands()) {
      elements_.emplace_back(static_cast<std::size_t>(last_element(x) + 1), x.number);
    }
    for (const auto& [value, elements] : memory) {
      EXPECT_EQ(operand(value).place, Place::memory);
      EXPECT_GE(elements.size(), of(value).size());
      of(value) = elements;
    }
    for (const Graph::Operation& operation : graph.operations()) run(operation);
  }
  const Values& operator[](Value value) const { return elements_[static_cast<std::size_t>(value)]; }

 private:
  const Graph::Operand& operand(Value value) const { return graph_.operands()[static_cast<std::size_t>(value)]; }
  Values& of(Value value) { return elements_[static_cast<std::size_t>(value)]; }

  // At the index of a tensor of `sizes`, of which this one may have fewer in a dimension: a group has one in common.
  double& at(Value value, const Sizes& index, const Sizes& sizes) {
    const Graph::Operand& x = operand(value);
    std::int64_t at = 0;
    for (std::size_t i = 0; i < 4; ++i) at += index[i] * x.sizes[i] / sizes[i] * x.steps[i];
    return of(value)[static_cast<std::size_t>(at)];
  }

  void run(const Graph::Operation& operation) {
    const Sizes& sizes = operand(operation.to).sizes;
    switch (operation.kind) {
      case Kind::matmul:
        return each_index(sizes, [&](const Sizes& i) { at(operation.to, i, sizes) = product(operation, i, sizes); });
      case Kind::pointwise:
        return each_index(sizes, [&](const Sizes& i) { at(operation.to, i, sizes) = point(operation, i, sizes); });
      case Kind::reduce:
        return reduce(operation);
      case Kind::reshape:
        of(operation.to) = of(operation.from[0]);
        return;
      case Kind::convolve:
        return each_index(sizes, [&](const Sizes& i) { at(operation.to, i, sizes) = window(operation, i, sizes); });
    }
  }

  double product(const Graph::Operation& operation, const Sizes& i, const Sizes& sizes) {
    const auto [a, b] = std::pair{operation.from[0], operation.from[1]};
    const std::int64_t depth = operand(a).sizes[3];
    EXPECT_EQ(operand(a).sizes[2], sizes[2]);
    EXPECT_EQ(operand(b).sizes[2], depth);
    EXPECT_EQ(operand(b).sizes[3], sizes[3]);
    double sum = 0;
    for (std::int64_t k = 0; k < depth; ++k) {
      sum += at(a, {i[0], i[1], i[2], k}, {sizes[0], sizes[1], sizes[2], depth}) *
             at(b, {i[0], i[1], k, i[3]}, {sizes[0], sizes[1], depth, sizes[3]});
    }
    return sum;
  }

  double point(const Graph::Operation& operation, const Sizes& i, const Sizes& sizes) {
    const auto x = [&](std::size_t from) { return at(operation.from[from], i, sizes); };
    switch (operation.mode) {
      case CUDNN_POINTWISE_ADD:
        return x(0) + x(1);
      case CUDNN_POINTWISE_SUB:
        return x(0) - x(1);
      case CUDNN_POINTWISE_MUL:
        return x(0) * x(1);
      case CUDNN_POINTWISE_DIV:
        return x(0) / x(1);
      case CUDNN_POINTWISE_EXP:
        return std::exp(x(0));
      case CUDNN_POINTWISE_LOG:
        return std::log(x(0));
      case CUDNN_POINTWISE_GEN_INDEX:
        return static_cast<double>(i[static_cast<std::size_t>(operation.axis)]);
      case CUDNN_POINTWISE_CMP_GE:
        return x(0) >= x(1) ? 1 : 0;
      case CUDNN_POINTWISE_BINARY_SELECT:
        return x(2) != 0 ? x(0) : x(1);
      default:
        ADD_FAILURE() << "not evaluated here: mode " << operation.mode;
        return 0;
    }
  }

  void reduce(const Graph::Operation& operation) {
    const bool adds = operation.reduction == CUDNN_REDUCE_TENSOR_ADD;
    EXPECT_TRUE(adds || operation.reduction == CUDNN_REDUCE_TENSOR_MAX);
    const double none = adds ? 0 : -std::numeric_limits<double>::infinity();
    std::ranges::fill(of(operation.to), none);
    const Sizes& sizes = operand(operation.from[0]).sizes;
    each_index(sizes, [&](const Sizes& i) {
      double& to = at(operation.to, i, sizes);
      const double x = at(operation.from[0], i, sizes);
      to = adds ? to + x : std::max(to, x);
    });
  }

  double window(const Graph::Operation& operation, const Sizes& i, const Sizes& sizes) {
    const Sizes& w = operand(operation.from[1]).sizes;
    const Sizes& image = operand(operation.from[0]).sizes;
    EXPECT_EQ(sizes[2] * w[2], image[2]);
    double sum = 0;
    each_index({1, w[1], w[2], w[3]}, [&](const Sizes& j) {
      sum += at(operation.from[0], {i[0], j[1], i[2] * w[2] + j[2], i[3] * w[3] + j[3]}, image) *
             at(operation.from[1], {i[1], j[1], j[2], j[3]}, w);
    });
    return sum;
  }

  const Graph& graph_;
  std::vector<Values> elements_;
};

// [tokens, heads, width] where steps put them, and back.
struct Placed {
  std::int64_t tokens, heads, width;
  HeadSteps steps;

  template <class F>
  void each(F f) const {
    std::size_t dense = 0;
    for (std::int64_t t = 0; t < tokens; ++t) {
      for (std::int64_t h = 0; h < heads; ++h) {
        for (std::int64_t i = 0; i < width; ++i)
          f(static_cast<std::size_t>(t * steps.token + h * steps.head + i), dense++);
      }
    }
  }
  Values place(const Values& x) const {
    Values memory(static_cast<std::size_t>(tokens * steps.token), 99);
    each([&](std::size_t at, std::size_t dense) { memory[at] = x[dense]; });
    return memory;
  }
  Values read(const Values& memory) const {
    Values x(static_cast<std::size_t>(tokens * heads * width));
    each([&](std::size_t at, std::size_t dense) { x[dense] = memory[at]; });
    return x;
  }
};

// [tokens, heads] by heads: [sequences, heads, queries].
Values by_heads(const Values& x, const AttentionSizes& s) {
  Values y;
  for (std::int64_t n = 0; n < s.sequences; ++n) {
    for (std::int64_t h = 0; h < s.heads; ++h) {
      for (std::int64_t i = 0; i < s.queries; ++i)
        y.push_back(x[static_cast<std::size_t>((n * s.queries + i) * s.heads + h)]);
    }
  }
  return y;
}

Values random_values(std::size_t count, std::uint64_t seed) {
  RandomStream random(seed);
  Values x(count);
  for (double& value : x) value = random.normal();
  return x;
}

constexpr double exact = 1e-12;

void expect_attention(AttentionSizes s) {
  const std::vector<std::int64_t> queries(static_cast<std::size_t>(s.sequences), s.queries);
  const std::vector<std::int64_t> keys(static_cast<std::size_t>(s.sequences), s.keys);
  const ReferenceAttention r{queries, keys, s.heads, s.kv_heads, s.width, s.causal, s.scale};
  const std::int64_t tq = r.query_tokens(), tk = r.key_tokens();
  s.q = {(s.heads + 3) * s.width, s.width};  // each in rows of its own width
  s.k = {(s.kv_heads + 1) * s.width, s.width};
  s.v = {s.kv_heads * (s.width + 2), s.width + 2};
  s.out = s.dq = {s.heads * s.width, s.width};
  s.dout = s.q;
  s.dk = s.v;
  s.dv = s.k;
  const auto size = [&](std::int64_t tokens, std::int64_t heads) {
    return static_cast<std::size_t>(tokens * heads * s.width);
  };
  const Values q = random_values(size(tq, s.heads), 1), k = random_values(size(tk, s.kv_heads), 2),
               v = random_values(size(tk, s.kv_heads), 3), dout = random_values(size(tq, s.heads), 4);
  const auto by_queries = [&](const HeadSteps& steps) { return Placed{tq, s.heads, s.width, steps}; };
  const auto by_keys = [&](const HeadSteps& steps) { return Placed{tk, s.kv_heads, s.width, steps}; };
  Values logsumexp;
  const Values out = r.forward(q, k, v, &logsumexp);
  std::map<Value, Values> memory;

  const auto [forward, m] = graph_of(s);
  memory = {{m.q, by_queries(s.q).place(q)}, {m.k, by_keys(s.k).place(k)}, {m.v, by_keys(s.v).place(v)}};
  const Evaluation there(forward, memory);
  EXPECT_LE(relative_error(by_queries(s.out).read(there[m.out]), out), exact);
  EXPECT_LE(relative_error(there[m.logsumexp], by_heads(logsumexp, s)), exact);

  s.gradient = true;
  const auto [backward, g] = graph_of(s);
  memory = {{g.q, by_queries(s.q).place(q)},
            {g.k, by_keys(s.k).place(k)},
            {g.v, by_keys(s.v).place(v)},
            {g.out, by_queries(s.out).place(out)},
            {g.dout, by_queries(s.dout).place(dout)},
            {g.logsumexp, by_heads(logsumexp, s)}};
  const Evaluation back(backward, memory);
  const auto expected = r.backward(dout, q, k, v);
  EXPECT_LE(relative_error(by_queries(s.dq).read(back[g.dq]), expected.dq), exact);
  EXPECT_LE(relative_error(by_keys(s.dk).read(back[g.dk]), expected.dk), exact);
  EXPECT_LE(relative_error(by_keys(s.dv).read(back[g.dv]), expected.dv), exact);
}

TEST(CudnnGraphs, AreAttentionAndItsGradient) {
  for (const bool causal : {false, true}) {
    for (const auto& [heads, kv_heads] : std::vector<std::pair<int, int>>{{2, 2}, {6, 2}, {3, 1}}) {
      SCOPED_TRACE(fmt::format("{} heads of {}, causal {}", heads, kv_heads, causal));
      expect_attention({.sequences = 2,
                        .queries = 7,
                        .keys = 7,
                        .heads = heads,
                        .kv_heads = kv_heads,
                        .width = 8,
                        .causal = causal,
                        .scale = 0.25F});
    }
  }
  expect_attention({.sequences = 3, .queries = 3, .keys = 11, .heads = 4, .kv_heads = 2, .width = 16, .scale = 0.5F});
  expect_attention({.sequences = 1, .queries = 9, .keys = 2, .heads = 2, .kv_heads = 2, .width = 8, .scale = 1.0F});
}

TEST(CudnnGraphs, ArePatchEmbedding) {
  for (const bool bias : {false, true}) {
    const PatchSizes s{.images = 2, .channels = 3, .height = 8, .width = 12, .patch = 4, .out = 5, .bias = bias};
    const Tensor pixels = random_tensor({s.images, s.channels, s.height, s.width}, DType::f32, 1);
    const std::int64_t rows = s.images * 2 * 3, depth = s.channels * s.patch * s.patch;
    const Tensor patches = Tensor::empty({rows, depth}, DType::f32, tested_device());
    kernels(pixels).extract_patches(pixels, s.patch, patches);
    const Values x = values_of(patches), w = random_values(static_cast<std::size_t>(s.out * depth), 2),
                 b = random_values(static_cast<std::size_t>(s.out), 3);
    const auto [graph, m] = graph_of(s);
    std::map<Value, Values> memory{{m.pixels, values_of(pixels)}, {m.weight, w}};
    if (bias) memory[m.bias] = b;
    Values expected;
    for (std::int64_t row = 0; row < rows; ++row) {
      for (std::int64_t column = 0; column < s.out; ++column) {
        double sum = bias ? b[static_cast<std::size_t>(column)] : 0;
        for (std::int64_t i = 0; i < depth; ++i) {
          sum += x[static_cast<std::size_t>(row * depth + i)] * w[static_cast<std::size_t>(column * depth + i)];
        }
        expected.push_back(sum);
      }
    }
    EXPECT_LE(relative_error(Evaluation(graph, memory)[m.y], expected), exact);
  }
}

}  // namespace
}  // namespace skymm::testing
