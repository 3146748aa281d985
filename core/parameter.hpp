// A named weight, and the modules that hold weights.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/quantized_tensor.hpp"
#include "core/tensor.hpp"

namespace skymm {

// value is in the compute dtype. A trainable parameter also gathers a gradient, f32, of the same shape: every backward
// adds to it. A frozen one whose layer keeps it in another form may have no value, but its shape stays: a quantised one
// has its codes in `quantized`, a packed one nothing here.
struct Parameter {
  Parameter() = default;
  explicit Parameter(const Shape& s) : shape(s) {}

  Shape shape;
  Tensor value;
  QuantizedTensor quantized;
  Tensor gradient;
  bool trainable = false;

  // The gradient, allocated and zeroed when first asked for.
  Tensor& gradient_sum();
  void clear_gradient() { gradient = Tensor(); }
};

// name: qualified by the modules on the way, "decoder.layers.3.self_attn.q_proj.weight".
using ParameterVisitor = std::function<void(const std::string& name, Parameter& parameter)>;

// A part of a model. It says which parameters it has, always in the same order; what it computes is up to it.
class Module {
 public:
  virtual ~Module() = default;
  virtual void visit(const std::string& prefix, const ParameterVisitor& visitor) = 0;
};

struct NamedParameter {
  std::string name;
  Parameter* parameter;
};

// Throws Error when two parameters have one name.
std::vector<NamedParameter> all_parameters(Module& module);
std::vector<NamedParameter> trainable_parameters(Module& module);

// Joins the parts of a qualified name; an empty prefix adds no dot.
inline std::string qualified(const std::string& prefix, const std::string& name) {
  return prefix.empty() ? name : prefix + "." + name;
}

}  // namespace skymm
