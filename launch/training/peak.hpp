// What this machine can do: the speed that a step's is a share of.
#pragma once

#include "core/device.hpp"
#include "core/dtype.hpp"

namespace skymm {

// GFLOP/s of a large matrix product (f32 or bf16, weight packed) through kernels(), the best of a few repetitions;
// takes about 0.2 s. threads: of the CPU; 0 for as many as OpenMP would use. Ranks that share a machine measure it at
// the same time, so that each gets its share. 0 of an emulated device, whose speed means nothing.
double measured_gemm_peak(DType dtype, int threads = 0, Device& device = cpu());

}  // namespace skymm
