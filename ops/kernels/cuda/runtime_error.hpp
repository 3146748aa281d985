// Errors of the CUDA runtime as Errors of this project. For nvcc's builds only.
#pragma once

#include <cuda_runtime.h>

#include <source_location>

namespace skymm::cuda {

// Throws Error unless `code` is success: what was being done, the runtime's words, and where.
void check_cuda(cudaError_t code, const char* doing, std::source_location where = std::source_location::current());

}  // namespace skymm::cuda
