#include "core/memory.hpp"

#include <algorithm>
#include <bit>

#include "core/device.hpp"
#include "core/error.hpp"

namespace skymm {
namespace {

thread_local Purpose purpose_in_scope = Purpose::activations;

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

void* CachingAllocator::allocate(std::size_t bytes, Purpose purpose) {
  const std::size_t size = rounded(bytes);
  const std::lock_guard lock(mutex_);
  void* pointer = nullptr;
  if (auto& blocks = free_[size]; !blocks.empty()) {
    pointer = blocks.back();
    blocks.pop_back();
    cached_ -= size;
  } else {
    pointer = device_.raw_allocate(size);
    if (pointer == nullptr) {  // perhaps the cache holds what is missing, in other sizes
      for (auto& [held, list] : free_) {
        for (void* block : list) device_.raw_release(block, held);
        list.clear();
      }
      cached_ = 0;
      pointer = device_.raw_allocate(size);
    }
    if (pointer == nullptr) {
      fail(
          "out of memory on {}: {:.1f} MiB asked for {}. Use a smaller micro-batch, recompute, or more pipeline "
          "stages; "
          "in use:\n{}",
          device_.name(), static_cast<double>(size) / 1048576.0, name_of(purpose), table());
    }
  }
  for (MemoryUse* use : {&use_[static_cast<int>(purpose)], &total_}) {
    use->current += size;
    use->peak = std::max(use->peak, use->current);
  }
  return pointer;
}

void CachingAllocator::release(void* pointer, std::size_t bytes, Purpose purpose) {
  const std::size_t size = rounded(bytes);
  const std::lock_guard lock(mutex_);
  free_[size].push_back(pointer);
  cached_ += size;
  use_[static_cast<int>(purpose)].current -= size;
  total_.current -= size;
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
  for (auto& [size, blocks] : free_) {
    for (void* block : blocks) device_.raw_release(block, size);
  }
  free_.clear();
  cached_ = 0;
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

Storage::Storage(Device& device, std::size_t bytes)
    : device_(device),
      bytes_(bytes),
      purpose_(purpose_in_scope),
      data_(device.allocator().allocate(bytes, purpose_in_scope)) {}

Storage::~Storage() { drop(); }

void Storage::drop() {
  if (data_ != nullptr) device_.allocator().release(data_, bytes_, purpose_);
  data_ = nullptr;
}

void Storage::take() {
  if (data_ == nullptr) data_ = device_.allocator().allocate(bytes_, purpose_);
}

void Storage::fail_dropped() {
  fail("a tensor is used whose memory was given up; weights that are sharded are gathered before use");
}

}  // namespace skymm
