// Activations, element by element, in f32.
#pragma once

#include "ops/kernels/cuda/primitives.hpp"
#include "ops/kernels/kernels.hpp"

namespace skymm::cuda {

__device__ __forceinline__ float sigmoid(float x) { return 1.0F / (1.0F + expf(-x)); }

__device__ __forceinline__ float activate(Activation kind, float x) {
  switch (kind) {
    case Activation::relu:
      return x > 0.0F || x != x ? x : 0.0F;  // not-a-number stays one
    case Activation::silu:
      return x * sigmoid(x);
    case Activation::gelu:
      return 0.5F * x * erfcf(-0.70710678F * x);
    case Activation::gelu_tanh:
      return 0.5F * x * (1.0F + tanhf(0.79788456F * (x + 0.044715F * x * x * x)));
    case Activation::quick_gelu:
      return x * sigmoid(1.702F * x);
    default:
      return x;
  }
}

}  // namespace skymm::cuda
