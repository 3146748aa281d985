#include "ops/kernels/cuda/runtime_error.hpp"

#include "core/error.hpp"

namespace skymm::cuda {

void check_cuda(cudaError_t code, const char* doing, std::source_location where) {
  if (code == cudaSuccess) return;
  throw Error(fmt::format("CUDA: {} failed: {} ({})", doing, cudaGetErrorString(code), cudaGetErrorName(code)), where);
}

}  // namespace skymm::cuda
