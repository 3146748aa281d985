#include "core/error.hpp"
#include "ops/kernels/cpu/cpu_kernels.hpp"
#include "ops/kernels/kernels.hpp"

namespace skymm {

Kernels& kernels(const Device& device) {
  check(device.kind() == DeviceKind::cpu, "this build has no kernels for {}", device.name());
  return cpu_kernels();
}

}  // namespace skymm
