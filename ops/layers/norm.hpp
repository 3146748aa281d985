// Normalisation layers: a function and its weights.
#pragma once

#include "ops/functions/norm.hpp"

namespace skymm {

// A parameter with memory for its value.
inline Parameter make_parameter(const Shape& shape, DType dtype, Device& device) {
  const PurposeScope purpose(Purpose::weights);
  Parameter parameter(shape);
  parameter.value = Tensor::empty(shape, dtype, device);
  return parameter;
}

class RmsNorm final : public Module {
 public:
  RmsNorm(std::int64_t width, float eps, DType dtype, Device& device)
      : weight_(make_parameter({width}, dtype, device)), eps_(eps) {}

  Variable forward(const Variable& x) { return rms_norm(x, weight_, eps_); }
  // Of x + branch, which it returns too; consumes `branch`.
  ResidualNorm forward(const Variable& x, const Variable& branch) { return add_rms_norm(x, branch, weight_, eps_); }

  void visit(const std::string& prefix, const ParameterVisitor& visitor) override {
    visitor(qualified(prefix, "weight"), weight_);
  }

 private:
  Parameter weight_;
  float eps_;
};

class LayerNorm final : public Module {
 public:
  LayerNorm(std::int64_t width, float eps, DType dtype, Device& device)
      : weight_(make_parameter({width}, dtype, device)), bias_(make_parameter({width}, dtype, device)), eps_(eps) {}

  Variable forward(const Variable& x) { return layer_norm(x, weight_, bias_, eps_); }

  void visit(const std::string& prefix, const ParameterVisitor& visitor) override {
    visitor(qualified(prefix, "weight"), weight_);
    visitor(qualified(prefix, "bias"), bias_);
  }

 private:
  Parameter weight_, bias_;
  float eps_;
};

}  // namespace skymm
