#include "ops/kernels/cpu/cpu_kernels.hpp"
#include "ops/kernels/cuda/cuda_kernels.hpp"
#include "ops/kernels/kernels.hpp"

namespace skymm {

Kernels& kernels(const Device& device) { return device.kind() == DeviceKind::cuda ? cuda_kernels() : cpu_kernels(); }

}  // namespace skymm
