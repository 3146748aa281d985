// Weights of linear layers as the CPU computes with them. A new form (quantised, say) is a class here and its maker.
#pragma once

#include "ops/kernels/cpu/matmul.hpp"

namespace skymm {

class CpuLinearWeight : public LinearWeight {
 public:
  // Enqueue; the work keeps what it needs of the weight alive. Shapes have been checked.
  virtual void forward(const Tensor& x, const Tensor& bias, Activation activation, const Tensor& y,
                       bool accumulate) const = 0;
  virtual void input_gradient(const Tensor& dy, const Tensor& dx, bool accumulate) const = 0;
};

}  // namespace skymm
