// Tensors as kernels take them: pointers and rows, and the dtype as a type.
#pragma once

#include <cstdint>

#include "core/tensor.hpp"
#include "ops/kernels/arguments.hpp"
#include "ops/kernels/cuda/primitives.hpp"

namespace skymm::cuda {

// The first element; null where the tensor is undefined. T: float, bf16, double or an integer, as the dtype says.
template <class T>
T* pointer(const Tensor& x) {
  return x.defined() ? static_cast<T*>(x.raw()) : nullptr;
}

// The rows of a tensor: all dimensions but the last as one, at one stride.
template <class T>
struct DeviceRows {
  DeviceRows(const Tensor& x) : data(pointer<T>(x)), stride(x.defined() ? RowLayout(x).stride : 0) {}
  __device__ __forceinline__ T* operator[](std::int64_t row) const { return data + row * stride; }

  T* data;
  std::int64_t stride;  // in elements
};

// f(float{}) or f(bf16{})
template <class F>
void visit_dtype_of(const Tensor& x, F&& f) {
  x.dtype() == DType::bf16 ? f(bf16{}) : f(float{});
}

inline Stream& stream_of(const Tensor& x) { return current_stream(x.device()); }

// A grid of one dimension that covers n items, `each` of them by a block.
inline unsigned blocks_for(std::int64_t n, std::int64_t each) { return static_cast<unsigned>((n + each - 1) / each); }

}  // namespace skymm::cuda
