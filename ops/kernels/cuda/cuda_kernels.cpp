#include "ops/kernels/cuda/cuda_kernels.hpp"

#include "ops/kernels/cuda/backend.hpp"

namespace skymm {

Kernels& cuda_kernels() {
  static Kernels* const backend = new cuda::CudaKernels;
  return *backend;
}

}  // namespace skymm
