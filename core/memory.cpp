#include "core/memory.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <iterator>
#include <utility>

#include "core/device.hpp"
#include "core/error.hpp"

namespace skymm {
namespace {

thread_local Purpose purpose_in_scope = Purpose::activations;
thread_local std::shared_ptr<WeightMemory> memory_in_scope;

// At least 64, else up to the next eighth of a power of two, so that lengths that vary a little share blocks.
std::size_t rounded(std::size_t bytes) {
  if (bytes <= 64) return 64;
  const std::size_t step = std::max<std::size_t>(64, std::bit_floor(bytes) / 8);
  return (bytes + step - 1) / step * step;
}

}  // namespace

std::string_view name_of(Purpose purpose) {
  constexpr std::string_view names[] = {"weights",       "activations", "gradients",  "optimizer",
                                        "communication", "workspace",   "checkpoints"};
  return names[static_cast<int>(purpose)];
}

PurposeScope::PurposeScope(Purpose purpose) : previous_(purpose_in_scope) { purpose_in_scope = purpose; }
PurposeScope::~PurposeScope() { purpose_in_scope = previous_; }

CachingAllocator::~CachingAllocator() { trim(); }

CachingAllocator::Block CachingAllocator::take(std::size_t size) {
  const std::size_t largest = work_ == WorkOn::released_memory ? size + size / 4 : size;
  if (const auto at = free_.lower_bound(size); at != free_.end() && at->first <= largest) {
    auto& blocks = at->second;
    const Block block = blocks.back();
    blocks.pop_back();
    if (blocks.empty()) free_.erase(at);
    cached_ -= block.size;
    return block;
  }
  void* pointer = device_.raw_allocate(size);
  while (pointer == nullptr && cached_ > 0) {  // the cache may hold what is missing, in other sizes
    release_cached(size);
    pointer = device_.raw_allocate(size);
  }
  return {pointer, size, nullptr};
}

void CachingAllocator::release_cached(std::size_t least) {
  for (std::size_t released = 0; released < least && !free_.empty();) {
    const auto largest = std::prev(free_.end());
    const Block block = largest->second.back();
    largest->second.pop_back();
    if (largest->second.empty()) free_.erase(largest);
    if (block.last != nullptr) block.last->synchronize();
    device_.raw_release(block.pointer, block.size);
    released += block.size;
    cached_ -= block.size;
  }
}

void CachingAllocator::fail_out_of_memory(std::size_t size, Purpose purpose) const {
  fail(
      "out of memory on {}: {:.1f} MiB asked for {}. Use a smaller micro-batch, recompute, or more pipeline stages; "
      "in use:\n{}",
      device_.name(), static_cast<double>(size) / 1048576.0, name_of(purpose), table());
}

void* CachingAllocator::allocate(std::size_t bytes, Purpose purpose) {
  const std::size_t size = rounded(bytes);
  const std::lock_guard lock(mutex_);
  const Block block = take(size);
  if (block.pointer == nullptr) fail_out_of_memory(size, purpose);
  if (work_ == WorkOn::released_memory) {
    Stream& stream = current_stream(device_);
    if (block.last != nullptr && block.last != &stream) stream.wait(block.last->record());
    live_[block.pointer] = {block.pointer, block.size, &stream};
  }
  for (MemoryUse* use : {&use_[static_cast<int>(purpose)], &total_}) {
    use->current += block.size;
    use->peak = std::max(use->peak, use->current);
  }
  return block.pointer;
}

void CachingAllocator::release(void* pointer, std::size_t bytes, Purpose purpose) {
  const std::lock_guard lock(mutex_);
  Block block{pointer, rounded(bytes), nullptr};
  if (work_ == WorkOn::released_memory) {
    block = live_.extract(pointer).mapped();
    Stream& stream = current_stream(device_);
    if (block.last != nullptr && block.last != &stream) stream.wait(block.last->record());
    block.last = &stream;
  }
  free_[block.size].push_back(block);
  cached_ += block.size;
  use_[static_cast<int>(purpose)].current -= block.size;
  total_.current -= block.size;
}

void CachingAllocator::forget(const Stream& stream) {
  const std::lock_guard lock(mutex_);
  for (auto& [pointer, block] : live_) {
    if (block.last == &stream) block.last = nullptr;
  }
  for (auto& [size, blocks] : free_) {
    for (Block& block : blocks) {
      if (block.last == &stream) block.last = nullptr;
    }
  }
}

MemoryUse CachingAllocator::use(Purpose purpose) const {
  const std::lock_guard lock(mutex_);
  return use_[static_cast<int>(purpose)];
}

MemoryUse CachingAllocator::total() const {
  const std::lock_guard lock(mutex_);
  return total_;
}

std::size_t CachingAllocator::cached() const {
  const std::lock_guard lock(mutex_);
  return cached_;
}

void CachingAllocator::reset_peak() {
  const std::lock_guard lock(mutex_);
  for (MemoryUse& use : use_) use.peak = use.current;
  total_.peak = total_.current;
}

void CachingAllocator::trim() {
  const std::lock_guard lock(mutex_);
  release_cached(cached_);
}

std::string CachingAllocator::report() const {
  const std::lock_guard lock(mutex_);
  return table();
}

std::string CachingAllocator::table() const {
  constexpr double mib = 1048576.0;
  std::string text = fmt::format("{:<14}{:>12}{:>12}\n", "memory (MiB)", "now", "peak");
  for (int i = 0; i < purpose_count; ++i) {
    text += fmt::format("{:<14}{:>12.1f}{:>12.1f}\n", name_of(static_cast<Purpose>(i)),
                        static_cast<double>(use_[i].current) / mib, static_cast<double>(use_[i].peak) / mib);
  }
  return text + fmt::format("{:<14}{:>12.1f}{:>12.1f}\n", "total", static_cast<double>(total_.current) / mib,
                            static_cast<double>(total_.peak) / mib);
}

WeightMemoryScope::WeightMemoryScope(std::shared_ptr<WeightMemory> memory)
    : previous_(std::exchange(memory_in_scope, std::move(memory))) {}
WeightMemoryScope::~WeightMemoryScope() { memory_in_scope = std::move(previous_); }

Storage::Storage(Device& device, std::size_t bytes)
    : device_(device), bytes_(bytes), purpose_(purpose_in_scope), data_(nullptr) {
  if (memory_in_scope != nullptr && purpose_ == Purpose::weights && device.kind() == DeviceKind::cpu) {
    memory_ = memory_in_scope;
    data_ = memory_->allocate(bytes);
  } else {
    take();
  }
}

Storage::~Storage() { drop(); }

void Storage::drop() {
  if (data_ != nullptr && memory_ == nullptr) device_.allocator().release(data_, bytes_, purpose_);
  memory_ = nullptr;
  data_ = nullptr;
}

void Storage::take() {
  if (data_ == nullptr) data_ = device_.allocator().allocate(bytes_, purpose_);
}

void Storage::move_to(const std::shared_ptr<WeightMemory>& memory, bool with_contents) {
  if (memory_ == memory) return;
  check(device_.kind() == DeviceKind::cpu, "only memory of the host can move; this is {}'s", device_.name());
  void* const to = memory->allocate(bytes_);
  if (with_contents) std::memcpy(to, data(), bytes_);
  drop();
  memory_ = memory;
  data_ = to;
}

void Storage::fail_dropped() {
  fail("a tensor is used whose memory was given up; weights that are sharded are gathered before use");
}

}  // namespace skymm
