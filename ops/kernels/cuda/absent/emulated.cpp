// In builds whose CUDA kernels are compiled for GPUs.
#include "core/error.hpp"
#include "ops/kernels/cuda/device.hpp"

namespace skymm::cuda {

Device& emulated_device() {
  fail("this build has CUDA kernels for GPUs only; configure with the preset cpu to run them emulated");
}

}  // namespace skymm::cuda
