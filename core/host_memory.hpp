// Memory of the host for tensors, by size: small blocks are malloc's, large ones mappings of their own, and those in
// between lie side by side in huge pages.
//
// Huge pages matter where memory is read once and in order, as generation reads all weights for each token: the
// processor stops fetching ahead at the end of a page, and remembers where few pages are.
#pragma once

#include <cstddef>
#include <map>
#include <mutex>

namespace skymm {

// Blocks that are too small for huge pages of their own. A huge page goes back to the system when all of it is free;
// its addresses are kept for good. Thread-safe.
class HugePages {
 public:
  void* allocate(std::size_t bytes);  // aligned to 64 bytes; null where the system has none left
  void release(void* block, std::size_t bytes);

 private:
  bool grow(std::size_t bytes);

  std::mutex mutex_;
  std::map<char*, std::size_t> free_;  // bytes of each free piece; neighbours are one piece
};

class HostMemory {
 public:
  void* allocate(std::size_t bytes);  // aligned to 64 bytes; null where the system has none left
  void release(void* block, std::size_t bytes);

 private:
  HugePages huge_pages_;
};

// malloc keeps what is released up to 32 MiB a block, 64 MiB at its top, as it does by itself once a program has
// released blocks as large. Pictures and batches of them come and go a thousand times a minute, and fresh memory for
// each takes longer than to decode it.
void keep_freed_memory();

}  // namespace skymm
