// The CUDA backend: hand-written kernels for the compute capability 8.0 and later.
#pragma once

#include "ops/kernels/kernels.hpp"

namespace skymm {

Kernels& cuda_kernels();

}  // namespace skymm
