#include "core/graph.hpp"

#include "core/error.hpp"
#include "support/support.hpp"

namespace skymm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Tensor vector_of(std::vector<float> values) {
  const auto n = static_cast<std::int64_t>(values.size());
  return Tensor::from(values, {n});
}

// A small function of the graph: y = scale * x + weight, so dx = scale * dy and dweight += dy.
Variable affine(const Variable& x, Parameter* weight, float scale) {
  const Tensor y = Tensor::zeros(x.value().shape(), DType::f32);
  y.add(x.value(), scale);
  if (weight != nullptr) y.add(weight->value);
  Node node{"affine", {x}, {weight}, {}, {}};
  node.input_gradient = [scale](const NodeGradients& g) {
    const Tensor dx = Tensor::zeros(g.output().shape(), DType::f32);
    dx.add(g.output(), scale);
    g.add(0, dx);
  };
  node.weight_gradient = [weight](std::span<const Tensor> dy) { weight->gradient_sum().add(dy[0]); };
  return x.graph().record(y, std::move(node));
}

Variable sum_of(const Variable& a, const Variable& b) {
  const Tensor y = a.value().clone();
  y.add(b.value());
  return a.graph().record(y, {"add",
                              {a, b},
                              {},
                              [](const NodeGradients& g) {
                                g.add(0, g.output());
                                g.add(1, g.output());
                              },
                              {}});
}

Parameter trainable(std::vector<float> values) {
  Parameter p({static_cast<std::int64_t>(values.size())});
  p.value = vector_of(std::move(values));
  p.trainable = true;
  return p;
}

TEST(Graph, ASharedInputSumsItsGradientsAndHarmsNoOther) {
  Graph graph;
  const Variable x = graph.input(vector_of({1, 2}));
  const Variable twice = sum_of(x, x);                      // both slots get the very same tensor
  const Variable y = sum_of(affine(twice, nullptr, 3), x);  // y = 3 (2 x) + x
  const Tensor dy = vector_of({1, 10});
  graph.backward(y, dy);
  EXPECT_THAT(graph.gradient(x).to_vector(), ElementsAre(7, 70));
  EXPECT_THAT(dy.to_vector(), ElementsAre(1, 10));
}

TEST(Graph, AWalkTellsOfEachNodeOnce) {
  Graph graph;
  std::vector<float> seen;  // the gradient of x so far
  const Variable x = graph.input(vector_of({1}));
  const Variable y = affine(affine(x, nullptr, 2), nullptr, 3);
  graph.on_node([&] { seen.push_back(graph.gradient(x).defined() ? graph.gradient(x).to_vector()[0] : 0); });
  graph.backward(y, vector_of({1}));
  EXPECT_THAT(seen, ElementsAre(0, 6));
}

TEST(Graph, AWalkTellsWhereItComesBackTo) {
  Graph graph;
  std::vector<std::string> told;
  const auto tell = [&](const char* what) { return [&told, what] { told.emplace_back(what); }; };
  graph.on_node(tell("node"));
  const Variable x = graph.input(vector_of({1, 2}));
  graph.on_return(tell("start"));
  const Variable y = affine(x, nullptr, 2);
  graph.on_return(tell("between"));
  const Variable z = affine(y, nullptr, 3);
  graph.constant(vector_of({1}));  // leaves no node
  graph.on_return(tell("end"));
  graph.on_return(tell("behind it"));
  EXPECT_TRUE(told.empty());
  graph.backward(z, vector_of({1, 1}));
  EXPECT_THAT(told, ElementsAre("behind it", "end", "node", "between", "node", "start"));
}

TEST(Graph, WeightGradientsAddAndMayWait) {
  Parameter w = trainable({1, 1});
  for (const auto when : {Graph::Weights::now, Graph::Weights::deferred}) {
    w.clear_gradient();
    Graph graph;
    int completed = 0;
    graph.on_complete([&](Parameter& p) { completed += &p == &w ? 1 : 100; });
    const Variable x = graph.input(vector_of({1, 2}));
    graph.backward(affine(affine(x, &w, 2), &w, 3), vector_of({1, 1}), when);
    EXPECT_THAT(graph.gradient(x).to_vector(), ElementsAre(6, 6));
    if (when == Graph::Weights::deferred) {
      EXPECT_FALSE(w.gradient.defined());
      EXPECT_EQ(completed, 0);
      graph.weight_gradients();
    }
    EXPECT_THAT(w.gradient.to_vector(), ElementsAre(4, 4));  // 1 from the outer use, 3 through it from the inner
    EXPECT_EQ(completed, 1);                                 // once, after both uses
  }
}

TEST(Graph, NothingIsRecordedWithoutNeed) {
  Parameter frozen({2});
  frozen.value = vector_of({1, 1});
  Graph graph;
  EXPECT_FALSE(affine(graph.constant(vector_of({1, 2})), &frozen, 2).needs_gradient());
  Graph inference(Graph::Mode::inference);
  EXPECT_FALSE(affine(inference.input(vector_of({1, 2})), nullptr, 2).needs_gradient());
  const Variable x = graph.input(vector_of({1, 2}));
  {
    const Graph::NoGradient none(graph);
    EXPECT_FALSE(affine(x, nullptr, 2).needs_gradient());
  }
  EXPECT_TRUE(affine(x, nullptr, 2).needs_gradient());
}

TEST(Graph, SavedTensorsGoAsTheWalkPasses) {
  Graph graph;
  std::weak_ptr<int> saved;
  const Variable x = graph.input(vector_of({1}));
  Variable y = x;
  bool alive_later = true;
  {
    const auto token = std::make_shared<int>(1);
    saved = token;
    // First in the forward, so last in the walk: sees whether what the later node saved is gone.
    y = graph.record(y.value().clone(), {"probe",
                                         {y},
                                         {},
                                         [&](const NodeGradients& g) {
                                           alive_later = !saved.expired();
                                           g.add(0, g.output());
                                         },
                                         {}});
    y = graph.record(y.value().clone(),
                     {"saver", {y}, {}, [token](const NodeGradients& g) { g.add(0, g.output()); }, {}});
  }
  EXPECT_FALSE(saved.expired());
  graph.backward(y, vector_of({1}));
  EXPECT_FALSE(alive_later);
}

TEST(Graph, RecomputeGivesTheSameGradientsHooksAndRunsTwice) {
  Parameter w = trainable({1, 1}), b = trainable({0, 0});
  std::vector<std::vector<float>> gradients[2];
  for (const bool again : {false, true}) {
    for (const auto when : {Graph::Weights::now, Graph::Weights::deferred}) {
      w.clear_gradient();
      b.clear_gradient();
      Graph graph;
      int completed = 0, runs = 0;
      graph.on_complete([&](Parameter&) { ++completed; });
      const Variable x = graph.input(vector_of({1, 2}));
      const Segment segment = [&](std::span<const Variable> in) {
        ++runs;
        return affine(affine(in[0], &w, 2), &b, 5);
      };
      const std::vector<Variable> inputs{affine(x, &w, 1)};
      const Variable y = again ? recompute(segment, inputs) : segment(inputs);
      EXPECT_THAT(y.value().to_vector(), ElementsAre(25, 35));
      graph.backward(y, vector_of({1, 1}), when);
      if (when == Graph::Weights::deferred) graph.weight_gradients();
      EXPECT_EQ(runs, again ? 2 : 1);
      EXPECT_EQ(completed, 2);
      for (const Tensor& g : {graph.gradient(x), w.gradient, b.gradient}) gradients[again].push_back(g.to_vector());
    }
  }
  EXPECT_EQ(gradients[0], gradients[1]);
}

TEST(Graph, RecomputeOfConstantsStillTrainsWeights) {
  Parameter w = trainable({1, 1});
  Graph graph;
  const Variable y = recompute([&](std::span<const Variable> in) { return affine(in[0], &w, 2); },
                               {graph.constant(vector_of({1, 2}))});
  graph.backward(y, vector_of({3, 4}));
  EXPECT_THAT(w.gradient.to_vector(), ElementsAre(3, 4));
}

TEST(Graph, OnlyTheSecondRunOfASegmentHasNoUseForItsOutput) {
  Graph graph;
  std::vector<bool> read;
  int nodes = 0;
  graph.on_node([&] { ++nodes; });
  const Segment segment = [&](std::span<const Variable> in) {
    const Variable x = affine(in[0], nullptr, 2);
    read.push_back(x.graph().values_read());
    const Graph::SegmentOutput last(x.graph());
    read.push_back(x.graph().values_read());
    return affine(x, nullptr, 3);
  };
  const Variable x = graph.input(vector_of({1, 2})), y = recompute(segment, {segment({&x, 1})});
  EXPECT_THAT(read, ElementsAre(true, true, true, true));
  graph.backward(y, vector_of({1, 1}));
  EXPECT_THAT(read, ElementsAre(true, true, true, true, true, false));
  EXPECT_THAT(graph.gradient(x).to_vector(), ElementsAre(36, 36));
  EXPECT_EQ(nodes, 5) << "two of the plain segment, the recomputed one, and the two in it";
}

TEST(Graph, AGradientOfAnotherShapeIsRefused) {
  Graph graph;
  const Variable x = graph.input(vector_of({1, 2}));
  EXPECT_THROW(graph.backward(affine(x, nullptr, 1), vector_of({1})), Error);
}

class Two : public Module {
 public:
  void visit(const std::string& prefix, const ParameterVisitor& visitor) override {
    visitor(qualified(prefix, "a"), a);
    visitor(qualified(prefix, same ? "a" : "b"), b);
  }
  Parameter a = trainable({1}), b{Shape{1}};
  bool same = false;
};

TEST(Module, ListsParametersByNameAndRefusesTwins) {
  Two two;
  EXPECT_EQ(all_parameters(two).size(), 2U);
  ASSERT_EQ(trainable_parameters(two).size(), 1U);
  EXPECT_EQ(trainable_parameters(two)[0].name, "a");
  two.same = true;
  EXPECT_THROW(all_parameters(two), Error);
}

}  // namespace
}  // namespace skymm
