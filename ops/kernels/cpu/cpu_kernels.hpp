// The CPU backend: oneDNN for matrix products, Highway for the rest, OpenMP for threads.
#pragma once

#include "ops/kernels/kernels.hpp"

namespace skymm {

Kernels& cpu_kernels();

}  // namespace skymm
