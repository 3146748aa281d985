// A GPU as a device: what the real one and the emulated one share. Kernels copy, fill and add; host memory is reached
// through pinned staging buffers, so that from_host returns before the bytes have moved, and to_host need not wait for
// the driver to make pages stay.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "core/device.hpp"

namespace skymm::cuda {

class CudaDevice : public Device {
 public:
  CudaDevice() : allocator_(*this, WorkOn::released_memory) {}

  DeviceKind kind() const override { return DeviceKind::cuda; }
  CachingAllocator& allocator() override { return allocator_; }

  void copy(const Tensor& from, Tensor to) override;
  void fill(Tensor x, double value) override;
  void add(const Tensor& x, Tensor y, float scale) override;
  void to_host(const Tensor& x, void* to) override;
  void from_host(const void* from, Tensor to) override;
  void forget(const Stream& stream) override;

 protected:
  // Enqueues a copy of bytes between any two of pinned host and device memory.
  virtual void copy_bytes(void* to, const void* from, std::size_t bytes, Stream& stream) = 0;
  // Host memory that the device reads and writes by itself.
  virtual void* allocate_pinned(std::size_t bytes) = 0;

 private:
  struct StagingBuffer {
    void* pointer = nullptr;
    Event free_from;  // no stream: it is free
  };
  StagingBuffer take_staging();

  CachingAllocator allocator_;
  std::deque<StagingBuffer> staging_;  // the longest unused first
};

// One device a process, made at the first call and never destroyed. Throws Error where this build or machine has none.
// `index` counts the GPUs that the process can see; it is that of the first call.
Device& nvidia_device(int index);
Device& emulated_device();

}  // namespace skymm::cuda
