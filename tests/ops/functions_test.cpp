// Gradients of the differentiable functions against directional derivatives of their own forward: <dL/dx, v> and
// (L(x + h v) - L(x - h v)) / 2h, L the sum of the outputs with random weights.
#include <cmath>

#include "core/error.hpp"
#include "ops/functions/activation.hpp"
#include "ops/functions/attention.hpp"
#include "ops/functions/linear.hpp"
#include "ops/functions/loss.hpp"
#include "ops/functions/norm.hpp"
#include "ops/functions/rows.hpp"
#include "support/support.hpp"

namespace skymm::testing {
namespace {

using Function = std::function<Variable(Graph&, std::span<const Variable>)>;

double dot(const Values& a, const Values& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

Tensor ids(const std::vector<std::int32_t>& values) {
  return Tensor::from(values, {static_cast<std::int64_t>(values.size())});
}

Parameter parameter(const Shape& shape, std::uint64_t seed, double scale = 1.0, DType dtype = DType::f32) {
  Parameter p(shape);
  p.value = random_tensor(shape, dtype, seed, scale);
  p.trainable = true;
  return p;
}

// Holds the gradients of the inputs and of the parameters to directional derivatives. Functions may consume what they
// are given, so that each run gets copies.
void check_gradients(const Function& f, const std::vector<Tensor>& inputs,
                     const std::vector<Parameter*>& parameters = {}, double bound = 5e-3) {
  std::vector<Tensor> at;
  for (const Tensor& input : inputs) at.push_back(input);
  for (const Parameter* p : parameters) at.push_back(p->value.clone());
  Values weights;
  const auto run = [&](Graph& graph, const std::vector<Tensor>& values) {
    std::vector<Variable> x;
    for (std::size_t i = 0; i < inputs.size(); ++i) x.push_back(graph.input(values[i].clone()));
    for (std::size_t i = 0; i < parameters.size(); ++i) parameters[i]->value.copy_from(values[inputs.size() + i]);
    return std::pair(f(graph, x), x);
  };
  std::vector<Tensor> gradients;
  {
    for (Parameter* p : parameters) p->clear_gradient();
    Graph graph;
    const auto [y, x] = run(graph, at);
    const Tensor w = random_tensor(y.value().shape(), DType::f32, 99);
    weights = values_of(w);
    graph.backward(y, w);
    for (const Variable& variable : x) gradients.push_back(graph.gradient(variable));
    for (const Parameter* p : parameters) gradients.push_back(p->gradient);
  }
  for (std::size_t i = 0; i < at.size(); ++i) {
    SCOPED_TRACE(i < inputs.size() ? "input " + std::to_string(i) : "parameter " + std::to_string(i - inputs.size()));
    ASSERT_TRUE(gradients[i].defined());
    const Tensor direction = random_tensor(at[i].shape(), DType::f32, 7 + i);
    const double analytic = dot(values_of(gradients[i]), values_of(direction));
    const auto loss = [&](double step) {
      std::vector<Tensor> moved = at;
      moved[i] = at[i].clone();
      moved[i].add(direction, static_cast<float>(step));
      Graph graph(Graph::Mode::inference);
      return dot(values_of(run(graph, moved).first.value()), weights);
    };
    constexpr double h = 2e-3;
    const double numeric = (loss(h) - loss(-h)) / (2 * h);
    EXPECT_NEAR(analytic, numeric, bound * (std::abs(numeric) + std::abs(analytic) + 0.5));
  }
  for (std::size_t i = 0; i < parameters.size(); ++i) parameters[i]->value.copy_from(at[inputs.size() + i]);
}

Tensor input(const Shape& shape, std::uint64_t seed = 3) { return random_tensor(shape, DType::f32, seed); }

TEST(Functions, Norms) {
  Parameter weight = parameter({33}, 1), bias = parameter({33}, 2);
  check_gradients([&](Graph&, auto x) { return rms_norm(x[0], weight, 1e-5F); }, {input({5, 33})}, {&weight});
  check_gradients([&](Graph&, auto x) { return layer_norm(x[0], weight, bias, 1e-5F); }, {input({5, 33})},
                  {&weight, &bias});
  check_gradients([](Graph&, auto x) { return l2_normalize(x[0]); }, {input({5, 33})});
  for (const int used : {0, 1, 2}) {  // the sum, the norm, both
    SCOPED_TRACE(used);
    std::vector<Parameter*> trained;
    if (used > 0) trained.push_back(&weight);
    check_gradients(
        [&](Graph&, auto x) {
          const auto [sum, normed] = add_rms_norm(x[0], x[1], weight, 1e-5F);
          return used == 0 ? sum : used == 1 ? normed : add(sum, normed);
        },
        {input({5, 33}), input({5, 33}, 4)}, trained);
  }
}

TEST(Functions, ElementByElement) {
  for (const Activation kind : {Activation::silu, Activation::gelu, Activation::gelu_tanh, Activation::quick_gelu}) {
    check_gradients([&](Graph&, auto x) { return activation(x[0], kind); }, {input({4, 19})});
  }
  check_gradients([](Graph&, auto x) { return swiglu(x[0]); }, {input({4, 38})});
  check_gradients([](Graph&, auto x) { return add(x[0], scale(x[1], -0.7F)); }, {input({4, 19}), input({4, 19}, 5)});
  check_gradients([](Graph&, auto x) { return add(x[0], x[0]); }, {input({4, 19})});
  const Tensor rows = Tensor::from(std::vector<std::int32_t>{0, 0, 0, 1, 7, 0, 7, 1}, {4, 2});
  check_gradients([&](Graph&, auto x) { return dropout(x[0], 0.4F, {5, 2, 9}, rows); }, {input({4, 19})});
}

AttentionShape two_sequences(bool causal) { return {ids({0, 3, 8}), ids({0, 3, 8}), 5, 5, causal, 0.3F}; }

TEST(Functions, Attention) {
  const HeadCounts heads{4, 2, 8};
  const Rotary rotary{ids({0, 1, 2, 0, 1, 2, 3, 4}), 100.0F};
  for (const bool causal : {false, true}) {
    check_gradients([&](Graph&, auto x) { return self_attention(x[0], heads, two_sequences(causal), rotary); },
                    {input({8, 64})});
    check_gradients([&](Graph&, auto x) { return self_attention(x[0], heads, two_sequences(causal)); },
                    {input({8, 64})});
  }
  const AttentionShape across{ids({0, 2, 6}), ids({0, 4, 7}), 4, 4, false, 0.3F};
  check_gradients([&](Graph&, auto x) { return cross_attention(x[0], x[1], heads, across); },
                  {input({6, 32}), input({7, 32}, 5)});
  check_gradients([&](Graph&, auto x) { return cross_attention(x[0], x[1], x[2], heads, across); },
                  {input({6, 32}), input({7, 16}, 5), input({7, 16}, 6)});
  check_gradients([&](Graph&, auto x) { return rotary_embedding(x[0], 2, rotary); }, {input({8, 16})});
}

TEST(Functions, RowsByIndex) {
  Parameter table = parameter({6, 9}, 1), positions = parameter({2, 9}, 2);
  check_gradients([&](Graph& graph, auto) { return embedding(graph, table, ids({2, 5, 2, -1, 0})); }, {}, {&table});
  check_gradients([&](Graph& graph, auto) { return use(graph, table, {9, 6}); }, {}, {&table});
  check_gradients([](Graph&, auto x) { return gather_rows(x[0], ids({3, 0})); }, {input({5, 9})});
  check_gradients([](Graph&, auto x) { return spread_rows(x[0], ids({3, 0}), 5); }, {input({2, 9})});
  check_gradients([](Graph&, auto x) { return splice(x[0], x[1], ids({3, 0})); }, {input({5, 9}), input({2, 9}, 4)});
  check_gradients([](Graph&, auto x) { return repeat_rows(x[0], 3); }, {input({4, 9})});
  check_gradients([](Graph&, auto x) { return slice_columns(x[0], 2, 7); }, {input({4, 9})});
  check_gradients([&](Graph&, auto x) { return add_rows(x[0], positions); }, {input({4, 9})}, {&positions});
  check_gradients(
      [&](Graph&, auto x) {
        return mix_rows(random_tensor({2, 4}, DType::f32, 8), x[0]);
      },
      {input({4, 9})});
}

// Three maps of one input; the first and the last have LoRA; weights and bias are rows of parameters.
struct Group {
  Parameter weight = parameter({14, 9}, 1, 0.3), bias = parameter({14}, 2), second = parameter({3, 9}, 3, 0.3);
  Parameter a0, b0, a1, b1;
  Tensor plain, stacked;

  explicit Group(bool stack) {
    stacked = random_tensor({5, 9}, DType::f32, 4, 0.5);
    const auto part = [&](std::int64_t begin, std::int64_t end) {
      Parameter a({end - begin, 9});
      a.value = stack ? stacked.slice(0, begin, end) : stacked.slice(0, begin, end).clone();
      a.trainable = true;
      return a;
    };
    a0 = part(0, 2);
    a1 = part(2, 5);
    b0 = parameter({4, 2}, 5, 0.5);
    b1 = parameter({3, 3}, 6, 0.5);
    if (!stack) stacked = Tensor();
  }

  // The second parameter's place in `plain` is filled anew, as the test moves it.
  LinearMaps maps(float dropout, const Tensor& row_ids) {
    plain = Tensor::empty({10, 9}, DType::f32);
    plain.slice(0, 0, 7).copy_from(weight.value.slice(0, 5, 12));
    plain.slice(0, 7, 10).copy_from(second.value);
    const Tensor both = Tensor::zeros({10}, DType::f32);
    both.slice(0, 0, 7).copy_from(bias.value.slice(0, 5, 12));
    LinearMaps maps{.weight = kernels(plain).make_linear_weight(plain, Packing::none), .bias = both};
    maps.terms = {{.out = 4, .weight = &weight, .bias = &bias, .first_row = 5, .lora = 0},
                  {.out = 3, .weight = &weight, .bias = &bias, .first_row = 9},
                  {.out = 3, .weight = &second, .lora = 1}};
    maps.loras = {{&a0, &b0, 0.7F, dropout, {1, 2, 3}}, {&a1, &b1, -1.3F, dropout, {1, 2, 4}}};
    maps.lora_a = stacked;
    maps.row_ids = row_ids;
    return maps;
  }
};

TEST(Functions, LinearMapsWithLora) {
  const Tensor rows = Tensor::from(std::vector<std::int32_t>{0, 0, 0, 1, 7, 0, 7, 1, 8, 0, 8, 1}, {6, 2});
  for (const bool stack : {false, true}) {
    for (const float dropout : {0.0F, 0.3F}) {
      SCOPED_TRACE(fmt::format("stacked {}, dropout {}", stack, dropout));
      Group g(stack);
      const std::vector<Parameter*> all{&g.weight, &g.bias, &g.second, &g.a0, &g.b0, &g.a1, &g.b1};
      check_gradients([&](Graph&, auto x) { return linear(x[0], g.maps(dropout, rows)); }, {input({6, 9})}, all);
      check_gradients([&](Graph&, auto x) { return linear(x[0], g.maps(dropout, rows), Activation::gelu); },
                      {input({6, 9})}, all);
      check_gradients([&](Graph&, auto x) { return swiglu_linear(x[0], g.maps(dropout, rows)); }, {input({6, 18})},
                      all);
      check_gradients([&](Graph&, auto x) { return add_linear(x[1], x[0], g.maps(dropout, rows)); },
                      {input({6, 9}), input({6, 10}, 8)}, all);
    }
  }
}

TEST(Functions, LoraIsWhatItsFormulaSays) {
  Group g(true);
  const Tensor x = input({6, 9});
  Graph graph(Graph::Mode::inference);
  LinearMaps maps = g.maps(0, {});
  const Values with = values_of(linear(graph.constant(x), maps).value());
  const Values a = values_of(g.a0.value), b = values_of(g.b0.value), in = values_of(x);
  maps.loras.clear();
  for (LinearTerm& term : maps.terms) term.lora = -1;
  const Values without = values_of(linear(graph.constant(x), maps).value());
  for (std::size_t t = 0; t < 6; ++t) {
    for (std::size_t o = 0; o < 4; ++o) {
      double sum = 0;
      for (std::size_t r = 0; r < 2; ++r) {
        for (std::size_t i = 0; i < 9; ++i) sum += 0.7 * b[o * 2 + r] * a[r * 9 + i] * in[t * 9 + i];
      }
      EXPECT_NEAR(with[t * 10 + o] - without[t * 10 + o], sum, 1e-4);
    }
    for (std::size_t o = 4; o < 7; ++o) EXPECT_EQ(with[t * 10 + o], without[t * 10 + o]);
  }
}

TEST(Functions, Products) {
  Parameter matrix = parameter({9, 5}, 1);
  check_gradients([&](Graph&, auto x) { return matmul(x[0], matrix); }, {input({4, 9})}, {&matrix});
  check_gradients([](Graph&, auto x) { return matmul_transposed(x[0], x[1], 0.6F); },
                  {input({4, 9}), input({3, 9}, 5)});
  check_gradients([](Graph&, auto x) { return matmul_transposed(x[0], x[0], 0.6F); }, {input({4, 9})});
}

TEST(Functions, Losses) {
  const Tensor labels = ids({3, -1, 0, 10, 5});
  check_gradients([&](Graph&, auto x) { return cross_entropy(x[0], labels, 0.3F); }, {input({5, 11})});
  check_gradients([&](Graph&, auto x) { return sum(x[0], 0.3F); }, {input({5, 11})});
  for (const std::int64_t chunk : {2, 100}) {
    SCOPED_TRACE(chunk);
    Parameter head = parameter({11, 9}, 1);
    check_gradients(
        [&](Graph&, auto x) {
          return linear_cross_entropy(
              x[0], {kernels(head.value).make_linear_weight(head.value, Packing::none), &head, chunk}, labels);
        },
        {input({5, 9})}, {&head});
  }
}

TEST(Functions, AFrozenFunctionLeavesNoNode) {
  Parameter weight = parameter({9}, 1);
  weight.trainable = false;
  Graph graph;
  EXPECT_FALSE(rms_norm(graph.constant(input({4, 9})), weight, 1e-5F).needs_gradient());
  EXPECT_TRUE(rms_norm(graph.input(input({4, 9})), weight, 1e-5F).needs_gradient());
  weight.trainable = true;
  EXPECT_TRUE(rms_norm(graph.constant(input({4, 9})), weight, 1e-5F).needs_gradient());
  const Graph::NoGradient none(graph);
  EXPECT_FALSE(rms_norm(graph.constant(input({4, 9})), weight, 1e-5F).needs_gradient());
}

TEST(Functions, AResidualIsOverwrittenOnlyWhereNobodyNeedsIt) {
  Group g(true);
  for (Parameter* p : {&g.weight, &g.bias, &g.second, &g.a0, &g.b0, &g.a1, &g.b1}) p->trainable = false;
  const Tensor residual = input({6, 10}, 8);
  const Values before = values_of(residual);
  const auto run = [&](Graph& graph, const Variable& r) {
    return add_linear(r, graph.constant(input({6, 9})), g.maps(0, {}));
  };
  Graph training;
  const Values sum = values_of(run(training, training.input(residual)).value());
  EXPECT_EQ(values_of(residual), before);
  const Variable again =
      recompute([&](std::span<const Variable> x) { return run(x[0].graph(), x[0]); }, {training.constant(residual)});
  EXPECT_EQ(values_of(residual), before);
  EXPECT_LE(relative_error(values_of(again.value()), sum), 1e-6);
  EXPECT_LE(relative_error(values_of(run(training, training.constant(residual)).value()), sum), 1e-6);
  EXPECT_LE(relative_error(values_of(residual), sum), 1e-6);  // in place
}

}  // namespace
}  // namespace skymm::testing
