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
    case Activation::gelu_tanh:  // 1 + tanh(u / 2) = 2 sigmoid(u), which keeps its digits where x is far below 0
      return x * sigmoid(x * (0.0713548163F * x * x + 1.59576912F));
    case Activation::quick_gelu:
      return x * sigmoid(1.702F * x);
    default:
      return x;
  }
}

// The derivative of activate().
__device__ __forceinline__ float activation_slope(Activation kind, float x) {
  const auto swish_slope = [](float scale, float v) {
    const float s = sigmoid(scale * v);
    return s + scale * v * s * sigmoid(-scale * v);
  };
  switch (kind) {
    case Activation::relu:
      return x > 0.0F ? 1.0F : 0.0F;
    case Activation::silu:
      return swish_slope(1.0F, x);
    case Activation::gelu:
      return 0.5F * erfcf(-0.70710678F * x) + 0.39894228F * x * expf(-0.5F * x * x);
    case Activation::gelu_tanh: {  // x sigmoid(u), u = 2 sqrt(2 / pi) (x + 0.044715 x^3)
      constexpr float linear = 1.59576912F, cubic = 0.0713548163F;
      const float u = x * (cubic * x * x + linear), s = sigmoid(u);
      return s + x * (3 * cubic * x * x + linear) * s * sigmoid(-u);
    }
    case Activation::quick_gelu:
      return swish_slope(1.702F, x);
    default:
      return 1.0F;
  }
}

}  // namespace skymm::cuda
