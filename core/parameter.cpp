#include "core/parameter.hpp"

#include <set>

#include "core/error.hpp"

namespace skymm {

Tensor& Parameter::gradient_sum() {
  if (!gradient.defined()) {
    const PurposeScope purpose(Purpose::gradients);
    gradient = Tensor::zeros(shape, DType::f32, value.defined() ? value.device() : cpu());
  }
  return gradient;
}

std::vector<NamedParameter> all_parameters(Module& module) {
  std::vector<NamedParameter> all;
  std::set<std::string> names;
  module.visit("", [&](const std::string& name, Parameter& parameter) {
    check(names.insert(name).second, "two parameters are called '{}'", name);
    all.push_back({name, &parameter});
  });
  return all;
}

std::vector<NamedParameter> trainable_parameters(Module& module) {
  std::vector<NamedParameter> trainable;
  for (const NamedParameter& entry : all_parameters(module)) {
    if (entry.parameter->trainable) trainable.push_back(entry);
  }
  return trainable;
}

}  // namespace skymm
