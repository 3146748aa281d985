#include "core/graph.hpp"

#include <algorithm>
#include <utility>

#include "core/error.hpp"

namespace skymm {

void NodeGradients::add(int input, Tensor gradient) const {
  if (needs(input) && gradient.defined()) graph_.accumulate(inputs_[input], std::move(gradient));
}

NodeGradients::Target NodeGradients::into(int input, const Shape& shape, const Tensor& like) const {
  if (!needs(input)) return {};
  Tensor& sum = graph_.gradients_[inputs_[input]];
  const bool accumulate = sum.defined();
  if (!accumulate) {
    sum = Tensor::empty(shape, like.dtype(), like.device());
  } else if (!sum.is_unique()) {  // somebody else views the first contribution: leave it as it is
    sum = sum.clone();
  }
  return {sum, accumulate};
}

int Graph::new_slot() {
  gradients_.emplace_back();
  kept_.push_back(false);
  return static_cast<int>(gradients_.size()) - 1;
}

Variable Graph::input(Tensor value) {
  if (!recording_) return constant(std::move(value));
  const int slot = new_slot();
  kept_[slot] = true;
  return {std::move(value), *this, slot};
}

Variable Graph::constant(Tensor value) { return {std::move(value), *this, -1}; }

bool Graph::needs_node(std::span<const Variable> inputs, std::span<Parameter* const> parameters) const {
  return recording_ &&
         (std::ranges::any_of(inputs, &Variable::needs_gradient) ||
          std::ranges::any_of(parameters, [](const Parameter* p) { return p != nullptr && p->trainable; }));
}

bool Graph::needs_node(std::initializer_list<Variable> inputs,
                       std::initializer_list<const Parameter*> parameters) const {
  return recording_ &&
         (std::ranges::any_of(inputs, &Variable::needs_gradient) ||
          std::ranges::any_of(parameters, [](const Parameter* p) { return p != nullptr && p->trainable; }));
}

Variable Graph::record(Tensor output, Node node) {
  std::vector<Tensor> outputs{std::move(output)};
  return std::move(record(std::move(outputs), std::move(node))[0]);
}

std::vector<Variable> Graph::record(std::vector<Tensor> outputs, Node node) {
  std::erase_if(node.parameters, [](const Parameter* p) { return p == nullptr || !p->trainable; });
  std::vector<Variable> variables;
  if (!needs_node(node.inputs, node.parameters)) {
    if (noted_ != nullptr) noted_->insert(noted_->end(), node.parameters.begin(), node.parameters.end());
    for (Tensor& output : outputs) variables.push_back(constant(std::move(output)));
    return variables;
  }
  Recorded recorded;
  for (const Variable& input : node.inputs) recorded.inputs.push_back(input.slot());
  for (Tensor& output : outputs) {
    recorded.outputs.push_back(new_slot());
    variables.emplace_back(std::move(output), *this, recorded.outputs.back());
  }
  for (Parameter* parameter : node.parameters) ++uses_[parameter];
  node.inputs.clear();  // the closures hold what they need
  recorded.node = std::move(node);
  nodes_.push_back(std::move(recorded));
  return variables;
}

void Graph::accumulate(int slot, Tensor gradient) {
  Tensor& sum = gradients_[slot];
  if (!sum.defined()) {
    sum = std::move(gradient);
  } else if (sum.is_unique()) {
    sum.add(gradient);
  } else {  // somebody else views the first contribution: leave it as it is
    Tensor fresh = sum.clone();
    fresh.add(gradient);
    sum = std::move(fresh);
  }
}

void Graph::backward(std::span<const Variable> outputs, std::span<const Tensor> gradients, Weights weights) {
  check(outputs.size() == gradients.size(), "backward got {} outputs and {} gradients", outputs.size(),
        gradients.size());
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    check(outputs[i].value().shape() == gradients[i].shape(), "the gradient of an output of shape {} has shape {}",
          outputs[i].value().shape(), gradients[i].shape());
    if (outputs[i].needs_gradient()) accumulate(outputs[i].slot(), gradients[i]);
  }
  const PurposeScope purpose(Purpose::activations);
  for (call_returns(); !nodes_.empty(); call_returns()) {
    Recorded recorded = std::move(nodes_.back());
    nodes_.pop_back();
    std::vector<Tensor> dy;
    for (const int slot : recorded.outputs) dy.push_back(std::exchange(gradients_[slot], Tensor()));
    const bool reached = std::ranges::any_of(dy, &Tensor::defined);
    if (reached && recorded.node.input_gradient &&
        std::ranges::any_of(recorded.inputs, [](int slot) { return slot >= 0; })) {
      recorded.node.input_gradient(NodeGradients(*this, recorded.inputs, dy));
      recorded.node.input_gradient = nullptr;  // drops what it saved
    }
    if (!recorded.node.parameters.empty()) {
      if (!reached) recorded.node.weight_gradient = nullptr;
      Pending pending{std::move(recorded.node.weight_gradient), std::move(dy), std::move(recorded.node.parameters)};
      if (weights == Weights::now) {
        run_weights(std::move(pending));
      } else {
        pending_.push_back(std::move(pending));
      }
    }
    if (node_hook_) node_hook_();
  }
}

void Graph::call_returns() {
  while (!returns_.empty() && returns_.back().nodes >= nodes_.size()) {
    returns_.back().hook();
    returns_.pop_back();
  }
}

void Graph::run_weights(Pending pending) {
  if (pending.run) pending.run(pending.outputs);
  for (Parameter* parameter : pending.parameters) {
    if (--uses_[parameter] == 0 && hook_) hook_(*parameter);
  }
}

void Graph::weight_gradients() {
  for (Pending& pending : std::exchange(pending_, {})) {
    run_weights(std::move(pending));
    if (node_hook_) node_hook_();
  }
}

Tensor Graph::gradient(const Variable& input) const {
  check(&input.graph() == this, "gradient() was asked for a variable of another graph");
  check(input.needs_gradient() && kept_[input.slot()], "gradient() is kept for input() variables only");
  return gradients_[input.slot()];
}

Variable recompute(const Segment& segment, std::vector<Variable> inputs) {
  check(!inputs.empty(), "a recomputed segment needs at least one input");
  Graph& outer = inputs[0].graph();
  if (!outer.recording()) return segment(inputs);

  std::vector<Parameter*> used;
  Tensor output;
  {
    const Graph::NoGradient none(outer);
    outer.note_uses(&used);
    output = segment(inputs).value();
    outer.note_uses(nullptr);
  }
  // One walk of a graph of the segment's own serves both parts: the input part walks and defers the weights' part.
  // Where no input needs a gradient the weights' part has to walk itself.
  auto inner = std::make_shared<Graph>();
  inner->second_run_ = true;
  inner->on_node(outer.node_hook_);
  auto walked = std::make_shared<bool>(false);
  const auto walk = [segment, inputs, inner, walked](const Tensor& dy) {
    *walked = true;
    std::vector<Variable> fresh;
    for (const Variable& input : inputs) {
      fresh.push_back(input.needs_gradient() ? inner->input(input.value()) : inner->constant(input.value()));
    }
    inner->backward(segment(fresh), dy, Graph::Weights::deferred);
    return fresh;
  };
  Node node{"recompute", inputs, used, {}, {}};
  node.input_gradient = [walk, inner](const NodeGradients& gradients) {
    const std::vector<Variable> fresh = walk(gradients.output());
    for (std::size_t i = 0; i < fresh.size(); ++i) {
      if (fresh[i].needs_gradient()) gradients.add(static_cast<int>(i), inner->gradient(fresh[i]));
    }
  };
  node.weight_gradient = [walk, walked, inner](std::span<const Tensor> dy) {
    if (!*walked) walk(dy[0]);
    inner->weight_gradients();
  };
  return outer.record(std::move(output), std::move(node));
}

}  // namespace skymm
