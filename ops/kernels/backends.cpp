#include <utility>

#include "core/error.hpp"
#include "ops/kernels/checks.hpp"
#include "ops/kernels/cpu/cpu_kernels.hpp"
#include "ops/kernels/cuda/cuda_kernels.hpp"
#include "ops/kernels/cuda/cudnn.hpp"
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

void use_cudnn(const std::vector<std::string>& kinds, const Device& device) {
  cuda::CudnnUses uses;
  for (const std::string& kind : kinds) {
    if (kind == "attention") {
      uses.attention = true;
    } else if (kind == "patch_embedding") {
      uses.patch_embedding = true;
    } else {
      fail("cuDNN is not used for '{}'; give attention or patch_embedding", kind);
    }
  }
  check(kinds.empty() || (device.kind() == DeviceKind::cuda && !device.is_emulated()),
        "cuDNN computes on GPUs, and the device is {}: set run.device cuda, or run.cudnn none", device.name());
  cuda::set_cudnn(uses);
}

void Kernels::patch_embedding(const Tensor& pixels, std::int64_t patch, const LinearWeight& w, const Tensor& bias,
                              Tensor y) {
  check_patch_embedding(pixels, patch, w, bias, y);
  const Tensor patches = Tensor::empty({y.dim(0), w.in}, pixels.dtype(), pixels.device());
  extract_patches(pixels, patch, patches);
  linear(patches, w, bias, Activation::none, y);
}

void Kernels::adamw(Tensor master, Tensor m, Tensor v, const Tensor& gradient, Tensor value, const AdamW& options) {
  const AdamWTensors one{std::move(master), std::move(m), std::move(v), gradient, std::move(value)};
  adamw({&one, 1}, options);
}

}  // namespace skymm
