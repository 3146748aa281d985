// The committed values of tests/golden, and models that take their weights from them.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "core/parameter.hpp"
#include "support/support.hpp"

namespace skymm::testing {

class Golden {
 public:
  explicit Golden(const std::string& name);  // of tests/golden/<name>.safetensors

  const Tensor& at(const std::string& name) const;  // f32 or i32; throws Error where there is none
  bool has(const std::string& name) const { return tensors_.contains(name); }
  Values values(const std::string& name) const { return values_of(at(name)); }
  const std::map<std::string, Tensor>& tensors() const { return tensors_; }

 private:
  std::string file_;
  std::map<std::string, Tensor> tensors_;
};

using Rename = std::function<std::string(const std::string&)>;

// Copies into each parameter of the module the golden tensor that `rename` gives for its name; an empty name skips it.
void load(Module& module, const Golden& golden, const Rename& rename);

// Each trainable parameter's gradient against golden "<prefix>gradient.<renamed>".
void expect_gradients(Module& module, const Golden& golden, const Rename& rename, double bound,
                      const std::string& prefix = "gradient.");

}  // namespace skymm::testing
