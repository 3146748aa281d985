// What core needs of a device: memory, streams, and the few tensor operations that gradients and copies are made of.
// Everything else a device can do is in ops/kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "core/memory.hpp"
#include "core/stream.hpp"

namespace skymm {

class Tensor;

enum class DeviceKind : std::uint8_t { cpu, cuda };

class Device {
 public:
  virtual ~Device() = default;

  virtual DeviceKind kind() const = 0;
  virtual std::string name() const = 0;
  // True where the CPU stands in for it: what it computes counts, the time that it takes says nothing.
  virtual bool is_emulated() const { return false; }

  // Memory straight from the device, aligned to 64 bytes; null when there is none left.
  virtual void* raw_allocate(std::size_t bytes) = 0;
  virtual void raw_release(void* pointer, std::size_t bytes) = 0;
  virtual CachingAllocator& allocator() = 0;

  virtual std::unique_ptr<Stream> make_stream() = 0;
  virtual Stream& default_stream() = 0;

  // Each is enqueued on the current stream, over tensors of this device. Shapes must agree; strides and dtypes may
  // differ.
  virtual void copy(const Tensor& from, Tensor to) = 0;          // to = from, converted to to's dtype
  virtual void fill(Tensor x, double value) = 0;                 // x = value
  virtual void add(const Tensor& x, Tensor y, float scale) = 0;  // y += scale x; f32, bf16 (summed in f32) and f64
  // Blocks until the stream has made `x`, then copies its elements, row-major, to host memory.
  virtual void to_host(const Tensor& x, void* to) = 0;
  virtual void from_host(const void* from, Tensor to) = 0;  // `from` is free again on return

  // A stream is about to end; all its work has run.
  virtual void forget(const Stream& stream) { allocator().forget(stream); }
};

Device& cpu();

}  // namespace skymm
