// The gradient graph of one micro-batch: a value, not a global tape.
//
//   Graph graph;
//   Variable x = graph.input(activations);             // a boundary: its gradient is wanted
//   Variable y = rms_norm(x, weight, eps);             // functions record a node only if a gradient passes through
//   graph.backward({y}, {dy});
//   Tensor dx = graph.gradient(x);
//
// A node's backward has two parts: input gradients, which the walk needs at once, and weight gradients, which may wait
// (backward with Weights::deferred, then weight_gradients()). Both add: weight gradients to Parameter::gradient. What
// a node saved is dropped as soon as its part has run.
#pragma once

#include <functional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/parameter.hpp"
#include "core/tensor.hpp"

namespace skymm {

class Graph;

// A tensor in a graph. slot: where the graph keeps its gradient; < 0: no gradient passes through it.
class Variable {
 public:
  Variable() = default;
  Variable(Tensor value, Graph& graph, int slot = -1) : value_(std::move(value)), graph_(&graph), slot_(slot) {}

  const Tensor& value() const { return value_; }
  Graph& graph() const { return *graph_; }
  bool needs_gradient() const { return slot_ >= 0; }
  int slot() const { return slot_; }
  bool defined() const { return value_.defined(); }

 private:
  Tensor value_;
  Graph* graph_ = nullptr;
  int slot_ = -1;
};

// A part of a forward pass.
using Segment = std::function<Variable(std::span<const Variable>)>;

// What a node's backward sees: the gradients of its outputs, and where those of its inputs go.
class NodeGradients {
 public:
  NodeGradients(Graph& graph, std::span<const int> inputs, std::span<const Tensor> outputs)
      : graph_(graph), inputs_(inputs), outputs_(outputs) {}

  // The gradient of an output; undefined where nothing used that output.
  const Tensor& output(int i = 0) const { return outputs_[i]; }
  bool needs(int input) const { return inputs_[input] >= 0; }
  // Adds to the gradient of an input. Ignored where none is needed.
  void add(int input, Tensor gradient) const;
  // For kernels that can add in place: the tensor that an input's gradient is gathered in. A new one of `shape`, with
  // the dtype and device of `like`, still to be written, or (accumulate) the sum so far, to be added to. Undefined
  // where the input needs none.
  struct Target {
    Tensor tensor;
    bool accumulate = false;
  };
  Target into(int input, const Shape& shape, const Tensor& like) const;

 private:
  Graph& graph_;
  std::span<const int> inputs_;
  std::span<const Tensor> outputs_;
};

// A function's trace. input_gradient runs in the walk if any input needs a gradient; weight_gradient, if any of
// `parameters` is trainable, then or later. Both get the gradients of the outputs.
struct Node {
  std::string_view name;
  std::vector<Variable> inputs;
  std::vector<Parameter*> parameters;
  std::function<void(const NodeGradients&)> input_gradient;
  std::function<void(std::span<const Tensor> outputs)> weight_gradient;
};

class Graph {
 public:
  enum class Mode { training, inference };
  enum class Weights { now, deferred };

  explicit Graph(Mode mode = Mode::training) : recording_(mode == Mode::training) {}
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  Variable input(Tensor value);     // a gradient is wanted (in a recording graph)
  Variable constant(Tensor value);  // none is

  bool recording() const { return recording_; }

  // True where a function of these must leave a node. Ask before saving anything.
  bool needs_node(std::initializer_list<Variable> inputs,
                  std::initializer_list<const Parameter*> parameters = {}) const;
  bool needs_node(std::span<const Variable> inputs, std::span<Parameter* const> parameters) const;

  // The outputs as variables; with a node behind them if one is needed, as constants otherwise.
  Variable record(Tensor output, Node node);
  std::vector<Variable> record(std::vector<Tensor> outputs, Node node);

  // Walks back from `outputs` with the gradients given (of the outputs' shapes). Once per graph.
  void backward(std::span<const Variable> outputs, std::span<const Tensor> gradients, Weights weights = Weights::now);
  void backward(const Variable& output, const Tensor& gradient, Weights weights = Weights::now) {
    backward(std::span(&output, 1), std::span(&gradient, 1), weights);
  }
  // The deferred part, in the order in which the walk met it.
  void weight_gradients();
  // After backward: the gradient of an input() variable; undefined where it got none.
  Tensor gradient(const Variable& input) const;

  // Called when this graph has added the last contribution to a trainable parameter's gradient.
  void on_complete(std::function<void(Parameter&)> hook) { hook_ = std::move(hook); }

  // Called after each node of a walk, and of weight_gradients(), those of recomputed segments too: for who has
  // something else under way meanwhile, such as messages. Set it before functions run.
  void on_node(std::function<void()> hook) { node_hook_ = std::move(hook); }

  // Called when a walk comes back to here: after all nodes that are recorded from now on, before those that there are.
  // A walk calls it whether or not a gradient comes so far.
  void on_return(std::function<void()> hook) { returns_.push_back({nodes_.size(), std::move(hook)}); }

  // While it lives, functions leave no nodes.
  class NoGradient {
   public:
    explicit NoGradient(Graph& graph) : graph_(graph), previous_(graph.recording_) { graph.recording_ = false; }
    ~NoGradient() { graph_.recording_ = previous_; }
    NoGradient(const NoGradient&) = delete;
    NoGradient& operator=(const NoGradient&) = delete;

   private:
    Graph& graph_;
    bool previous_;
  };

  // While it lives, what functions compute is nothing but a recomputed segment's output. In the segment's second run
  // nobody reads that: functions leave their nodes as ever, and may leave the values unwritten. Elsewhere it changes
  // nothing.
  class SegmentOutput {
   public:
    explicit SegmentOutput(Graph& graph) : graph_(graph), previous_(graph.values_read_) {
      graph.values_read_ = graph.values_read_ && !graph.second_run_;
    }
    ~SegmentOutput() { graph_.values_read_ = previous_; }
    SegmentOutput(const SegmentOutput&) = delete;
    SegmentOutput& operator=(const SegmentOutput&) = delete;

   private:
    Graph& graph_;
    bool previous_;
  };
  // False where a function may leave its output unwritten.
  bool values_read() const { return values_read_; }

  // Parameters that functions used while the graph recorded nothing are noted here: a recomputed segment will use them.
  void note_uses(std::vector<Parameter*>* uses) { noted_ = uses; }
  // True in the first run of a recomputed segment: what it was given must stay as it is.
  bool will_run_again() const { return noted_ != nullptr; }

 private:
  friend class NodeGradients;
  friend Variable recompute(const Segment& segment, std::vector<Variable> inputs);

  struct Recorded {
    Node node;
    std::vector<int> inputs;   // slots
    std::vector<int> outputs;  // slots
  };
  struct Return {
    std::size_t nodes;  // that were there
    std::function<void()> hook;
  };
  struct Pending {
    std::function<void(std::span<const Tensor>)> run;
    std::vector<Tensor> outputs;
    std::vector<Parameter*> parameters;
  };

  int new_slot();
  void accumulate(int slot, Tensor gradient);
  void call_returns();
  void run_weights(Pending pending);

  bool recording_;
  bool second_run_ = false, values_read_ = true;
  std::vector<Recorded> nodes_;
  std::vector<Return> returns_;
  std::vector<Tensor> gradients_;  // by slot
  std::vector<bool> kept_;         // by slot: of an input(), so kept after the walk
  std::vector<Pending> pending_;
  std::unordered_map<Parameter*, int> uses_;
  std::function<void(Parameter&)> hook_;
  std::function<void()> node_hook_;
  std::vector<Parameter*>* noted_ = nullptr;
};

// Runs `segment` without a graph now and again in backward, so that only its inputs are kept between. The segment must
// compute the same both times (random numbers are counter-based, so they do). What it computes last may be left out the
// second time, if it says so by Graph::SegmentOutput.
Variable recompute(const Segment& segment, std::vector<Variable> inputs);

}  // namespace skymm
