// The device that the tests of CUDA kernels run on: the emulated one, or the first GPU in a build for GPUs.
#pragma once

#include "core/error.hpp"
#include "ops/kernels/cuda/device.hpp"
#include "support/support.hpp"

namespace skymm::testing {

inline Device& cuda_device() {
  static Device& device = []() -> Device& {
    try {
      return cuda::emulated_device();
    } catch (const Error&) {
      return cuda::nvidia_device(0);
    }
  }();
  return device;
}
inline Stream& cuda_stream() { return current_stream(cuda_device()); }

inline Tensor random_on_cuda(const Shape& shape, DType dtype, std::uint64_t seed, double scale = 1.0) {
  return random_tensor(shape, dtype, seed, scale).to(cuda_device());
}
inline Tensor full_on_cuda(const Shape& shape, DType dtype, double value) {
  return Tensor::full(shape, dtype, value, cuda_device());
}

}  // namespace skymm::testing
