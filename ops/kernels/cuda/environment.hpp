// What CUDA's driver and NCCL read of the environment when they start.
#pragma once

#include <cstdlib>

namespace skymm::cuda {

// What is set already stays. To be called before either starts, so before MPI: some start the driver. Kernels of NCCL
// wait on the GPU for other ranks. Meanwhile another stream must not wait in their queue (by default there are 8), nor
// the first use of a kernel, whose loading may wait until the GPU is idle, nor this thread in the first collective for
// the ranks to connect.
inline void configure_environment() {
  setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0);
  setenv("CUDA_MODULE_LOADING", "EAGER", 0);
  setenv("NCCL_RUNTIME_CONNECT", "0", 0);
}

}  // namespace skymm::cuda
