#pragma once

#include <initializer_list>

#include "core/error.hpp"
#include "core/tensor.hpp"

namespace skymm {

// Throws Error, in the name of the primitive, unless those of the tensors that are defined are on one device.
inline void check_one_device(const char* primitive, std::initializer_list<const Tensor*> tensors) {
  const Device* device = nullptr;
  for (const Tensor* x : tensors) {
    if (!x->defined()) continue;
    if (device == nullptr) device = &x->device();
    check(&x->device() == device, "{}: a tensor is on {}, another on {}; move them to one device", primitive,
          device->name(), x->device().name());
  }
}

}  // namespace skymm
