// Memory of a device: a caching allocator that knows what each byte is for.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace skymm {

class Device;
class Stream;

enum class Purpose : std::uint8_t { weights, activations, gradients, optimizer, communication, workspace, checkpoints };
inline constexpr int purpose_count = 7;
std::string_view name_of(Purpose purpose);

// Storage allocated by this thread while the scope lives is booked under `purpose`; activations otherwise.
class PurposeScope {
 public:
  explicit PurposeScope(Purpose purpose);
  ~PurposeScope();
  PurposeScope(const PurposeScope&) = delete;
  PurposeScope& operator=(const PurposeScope&) = delete;

 private:
  Purpose previous_;
};

struct MemoryUse {
  std::size_t current = 0;  // bytes in live storage
  std::size_t peak = 0;     // the most that was live at once since the start or reset_peak()
};

// Whether work that is enqueued keeps the memory that it touches alive until it has run (the CPU's, which owns its
// tensors), or runs after the memory may have been released (a GPU's, which has bare pointers).
enum class WorkOn : std::uint8_t { owned_memory, released_memory };

// Hands out blocks and keeps released ones by size for the next request. Sizes are rounded up by at most an eighth.
// Thread-safe. One per device. Where work may run on released memory, a block is handed out in the order of streams:
// its next user's stream waits for the stream that it was allocated on and the one that it was released on. Such memory
// is not paged and its release waits for the device, so a request also takes a block that is up to a quarter larger;
// it is in the books with what it has. When the device has no more, the largest cached blocks go back, no more than
// needed.
class CachingAllocator {
 public:
  explicit CachingAllocator(Device& device, WorkOn work = WorkOn::owned_memory) : device_(device), work_(work) {}
  ~CachingAllocator();
  CachingAllocator(const CachingAllocator&) = delete;
  CachingAllocator& operator=(const CachingAllocator&) = delete;

  // Never null, also for zero bytes. Throws Error with the table of purposes when the device is out of memory.
  void* allocate(std::size_t bytes, Purpose purpose);
  void release(void* pointer, std::size_t bytes, Purpose purpose);

  MemoryUse use(Purpose purpose) const;
  MemoryUse total() const;
  std::size_t cached() const;  // bytes held for reuse, not live
  void reset_peak();
  void trim();                        // gives the cached blocks back to the device
  std::string report() const;         // a table by purpose, MiB
  void forget(const Stream& stream);  // it is about to end; all its work has run

 private:
  struct Block {
    void* pointer;
    std::size_t size;
    Stream* last;  // whose enqueued work may still use it; null: nobody's
  };

  Block take(std::size_t size);            // from the cache or the device; a null pointer where there is no memory left
  void release_cached(std::size_t least);  // the largest first, until so many bytes are back or none is left
  [[noreturn]] void fail_out_of_memory(std::size_t size, Purpose purpose) const;

  std::string table() const;  // under the lock
  Device& device_;
  WorkOn work_;
  mutable std::mutex mutex_;
  std::map<std::size_t, std::vector<Block>> free_;
  std::map<void*, Block> live_;  // where work runs on released memory; last: that it was allocated on
  std::array<MemoryUse, purpose_count> use_;
  MemoryUse total_;
  std::size_t cached_ = 0;
};

// Memory for weights from elsewhere than a device's allocator, such as a mapping that processes share. It is in no
// allocator's books.
class WeightMemory {
 public:
  virtual ~WeightMemory() = default;
  // Of the host, aligned to 64 bytes; it lives as long as this does. Throws Error where there is none left.
  virtual void* allocate(std::size_t bytes) = 0;
};

// While the scope lives, the CPU's storage for weights (Purpose::weights) that this thread makes is in `memory`; null:
// as without the scope.
class WeightMemoryScope {
 public:
  explicit WeightMemoryScope(std::shared_ptr<WeightMemory> memory);
  ~WeightMemoryScope();
  WeightMemoryScope(const WeightMemoryScope&) = delete;
  WeightMemoryScope& operator=(const WeightMemoryScope&) = delete;

 private:
  std::shared_ptr<WeightMemory> previous_;
};

// A block of device memory, released when the last tensor that views it goes.
class Storage {
 public:
  Storage(Device& device, std::size_t bytes);  // under the purpose in scope
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data() const {
    if (data_ == nullptr) fail_dropped();
    return data_;
  }
  std::size_t bytes() const { return bytes_; }
  Device& device() const { return device_; }

  // For weights that live elsewhere between uses: drop() gives the memory back while the tensors that view it stay, and
  // take() gets memory again, its contents undefined. In between data() throws Error. Work enqueued on the memory must
  // have run. Dropping twice, or taking what is there, changes nothing.
  void drop();
  void take();

  // Lives in `memory` from now on, under every tensor that views it; nothing changes where it does already. The
  // contents come along if `with_contents`; else whoever else sees `memory` puts them there. Enqueued work must have
  // run. drop() leaves `memory`, and take() comes back to the device's own.
  void move_to(const std::shared_ptr<WeightMemory>& memory, bool with_contents);
  bool is_in_weight_memory() const { return memory_ != nullptr; }

 private:
  [[noreturn]] static void fail_dropped();

  Device& device_;
  std::size_t bytes_;
  Purpose purpose_;
  std::shared_ptr<WeightMemory> memory_;  // that data_ is in; null: the device's
  void* data_;
};

}  // namespace skymm
