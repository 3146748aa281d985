#include "core/error.hpp"
#include "ops/kernels/cpu/cpu_kernels.hpp"
#include "ops/kernels/cuda/cuda_kernels.hpp"
#include "ops/kernels/cuda/device.hpp"
#include "ops/kernels/kernels.hpp"

namespace skymm {

Kernels& kernels(const Device& device) { return device.kind() == DeviceKind::cuda ? cuda_kernels() : cpu_kernels(); }

Device& open_device(std::string_view name, int local_rank) {
  if (name == "cpu") return cpu();
  if (name == "cuda") return cuda::nvidia_device(local_rank);
  if (name == "emulated-cuda") return cuda::emulated_device();
  fail("device '{}' is unknown; give cpu, cuda or emulated-cuda", name);
}

}  // namespace skymm
