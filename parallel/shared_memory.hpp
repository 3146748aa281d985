// One copy of frozen weights for the ranks of a node that hold the same.
//
//   const std::unique_ptr<Communicator> node = split_by_node(grid.data());
//   const SharedMemory::Made made = SharedMemory::make(*node, most_bytes);
//   { const WeightMemoryScope scope(made.memory); ... }   // the same allocations on every rank
//   made.memory->seal(*node);
//
// The memory has no name in any file system: the first rank makes it (memfd_create), the others open it through /proc.
// It goes with the last process that maps it, however that ends, and the size of /dev/shm is no limit to it.
#pragma once

#include <memory>
#include <string>

#include "core/communicator.hpp"
#include "core/memory.hpp"

namespace skymm {

// The same for all processes that can share memory so: those of one kernel and one PID namespace (of one container).
std::string node_name();

// The ranks of `ranks` with the same node, in their order. Collective.
std::unique_ptr<Communicator> split_by_node(Communicator& ranks, const std::string& node = node_name());

class SharedMemory final : public WeightMemory {
 public:
  struct Made {
    std::shared_ptr<SharedMemory> memory;  // null where some rank cannot have it: on all of them
    std::string problem;                   // then, why
  };
  // For the ranks of `node`, which run on one. `capacity` bytes of address space are set aside; memory itself is taken
  // as it is written. Collective.
  static Made make(Communicator& node, std::size_t capacity);

  ~SharedMemory() override;
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  // All ranks allocate the same sizes in the same order: what one of them writes there, all find. Throws Error where
  // the capacity is used up, or the system has no memory left for what this rank is to write.
  void* allocate(std::size_t bytes) override;
  // Whether this rank writes what is allocated from now on. At first it does not.
  void set_writing(bool writing) { writing_ = writing; }
  std::size_t used() const { return used_; }

  // Ends allocation and writing: on return every rank sees what any wrote, and may only read. Throws Error where ranks
  // did not allocate the same. Collective.
  void seal(Communicator& node);

 private:
  SharedMemory(char* bytes, std::size_t capacity) : bytes_(bytes), capacity_(capacity) {}

  char* bytes_;
  std::size_t capacity_, used_ = 0;
  std::uint64_t allocations_ = 0;
  bool writing_ = false, sealed_ = false;
};

}  // namespace skymm
