#include "core/host_memory.hpp"

#include <malloc.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <iterator>

#include "core/round_up.hpp"

namespace skymm {
namespace {

constexpr std::size_t page = 4096, huge_page = std::size_t{2} << 20;
constexpr std::size_t region = std::size_t{64} << 20;  // of addresses, asked for at once, or what one block needs

constexpr std::size_t shared_from = std::size_t{256} << 10;  // bytes of a block
constexpr std::size_t mapped_from = 2 * huge_page;

char* up_to_huge_page(char* at) {
  return at + (huge_page - reinterpret_cast<std::uintptr_t>(at) % huge_page) % huge_page;
}
char* down_to_huge_page(char* at) { return at - reinterpret_cast<std::uintptr_t>(at) % huge_page; }

// From the system itself, at the beginning of a huge page, so that release gives it back at once; malloc might keep it.
// Null where there is none.
char* map(std::size_t bytes) {
  const std::size_t size = round_up(bytes, page), room = size + huge_page - page;
  void* const mapped = mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  char* const begin = static_cast<char*>(mapped);
  char* const first = up_to_huge_page(begin);
  const auto before = static_cast<std::size_t>(first - begin);
  if (before > 0) munmap(begin, before);
  if (room - before > size) munmap(first + size, room - before - size);
  madvise(first, size, MADV_HUGEPAGE);
  return first;
}

}  // namespace

void* HugePages::allocate(std::size_t bytes) {
  bytes = round_up(bytes, 64);
  const std::lock_guard lock(mutex_);
  const auto fits = [bytes](const auto& piece) { return piece.second >= bytes; };
  auto piece = std::ranges::find_if(free_, fits);
  if (piece == free_.end()) {
    if (!grow(std::max(region, round_up(bytes, huge_page)))) return nullptr;
    piece = std::ranges::find_if(free_, fits);
  }
  const auto [at, size] = *piece;
  free_.erase(piece);
  if (size > bytes) free_.emplace(at + bytes, size - bytes);
  return at;
}

bool HugePages::grow(std::size_t bytes) {
  char* const at = map(bytes);
  if (at == nullptr) return false;
  free_.emplace(at, bytes);
  return true;
}

void HugePages::release(void* block, std::size_t bytes) {
  bytes = round_up(bytes, 64);
  const std::lock_guard lock(mutex_);
  char* const begin = static_cast<char*>(block);
  char* const end = begin + bytes;
  auto piece = free_.emplace(begin, bytes).first;
  if (const auto next = std::next(piece); next != free_.end() && next->first == end) {
    piece->second += next->second;
    free_.erase(next);
  }
  if (piece != free_.begin()) {
    if (const auto before = std::prev(piece); before->first + before->second == begin) {
      before->second += piece->second;
      free_.erase(piece);
      piece = before;
    }
  }
  // The huge pages that this block was the last in.
  char* const first = std::max(up_to_huge_page(piece->first), down_to_huge_page(begin));
  char* const last = std::min(down_to_huge_page(piece->first + piece->second), up_to_huge_page(end));
  if (first < last) madvise(first, static_cast<std::size_t>(last - first), MADV_DONTNEED);
}

void* HostMemory::allocate(std::size_t bytes) {
  if (bytes >= mapped_from) return map(bytes);
  return bytes >= shared_from ? huge_pages_.allocate(bytes) : std::aligned_alloc(64, round_up(bytes, 64));
}

void HostMemory::release(void* block, std::size_t bytes) {
  if (bytes >= mapped_from) {
    munmap(block, round_up(bytes, page));
  } else if (bytes >= shared_from) {
    huge_pages_.release(block, bytes);
  } else {
    std::free(block);
  }
}

void keep_freed_memory() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 64 << 20);
}

}  // namespace skymm
