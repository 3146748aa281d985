// In builds whose CUDA kernels are compiled for the emulation.
#include "core/error.hpp"
#include "ops/kernels/cuda/device.hpp"

namespace skymm::cuda {

Device& nvidia_device(int) {
  fail(
      "this build has no kernels for GPUs: configure with the preset cuda, where CUDA's toolkit is installed, or "
      "compute with --device cpu");
}

}  // namespace skymm::cuda
