// One block under emulation: its threads, who may run, and what they wait for.
#pragma once

#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cuda_emulation/emulation.hpp"
#include "cuda_emulation/fiber.hpp"
#include "cuda_emulation/sanitizers.hpp"

namespace skymm::cuda_emulation {

struct AsyncCopy {
  unsigned char* to;
  const unsigned char* from;  // null: zeros
  unsigned group;
};

enum class Waiting : std::uint8_t { nothing, barrier, warp };

struct Thread : ThreadContext {
  Thread() : fiber(stack_bytes) {}

  Fiber fiber;
  unsigned index = 0;
  bool finished = false;
  Waiting waiting = Waiting::nothing;
  Location where;  // of what it waits for
  std::vector<AsyncCopy> copies;
  unsigned copy_group = 0;  // the one that is being filled
};

// Reused for all blocks that a thread of the operating system runs, as stacks are costly to make.
class Block {
 public:
  // Runs all threads of the block to their end; the first breach that a thread met, "" where there was none.
  std::string run(const std::function<void()>& body, dim3 grid, dim3 size, uint3 index, const SharedMemory& shared,
                  std::uint64_t seed);

  Thread& running() { return static_cast<Thread&>(*current); }
  [[noreturn]] void fail(const std::string& what, Location where);
  int barrier(int predicate, Reduction reduction, Location where);
  Rendezvous& meet(unsigned mask, WarpOperation operation, const void* value, std::size_t bytes, Location where);
  void* shared(const void* tag, std::size_t bytes, Location where);
  void* dynamic_shared();

 private:
  struct SharedPart {
    const void* tag;
    std::unique_ptr<unsigned char[], void (*)(unsigned char*)> memory;
  };

  struct WarpMeeting : Rendezvous {
    HappensBefore order;
  };

  static void thread_main();
  void prepare(dim3 grid, dim3 size, uint3 index);
  Thread* next_ready();                        // null: nobody can run
  void give_way(Thread& thread);               // to the next that is ready, or to the scheduler
  void switch_to(Thread* next, Thread& from);  // null: the scheduler
  void make_ready(Thread& thread);
  void make_lanes_ready(Thread& thread, unsigned mask, bool itself);  // those of its warp
  void* poisoned(const void* tag, std::size_t bytes);
  WarpMeeting& open_meeting(Thread& thread, unsigned mask, WarpOperation operation, Location where);
  std::string describe_deadlock() const;

  std::vector<std::unique_ptr<Thread>> threads_;  // at least count_
  unsigned count_ = 0, alive_ = 0;
  const std::function<void()>* body_ = nullptr;
  std::vector<Thread*> ready_;
  std::size_t ready_head_ = 0;
  std::mt19937_64 random_;
  Fiber scheduler_;
  std::string failure_;

  unsigned arrived_ = 0, barriers_ = 0;
  Location barrier_where_;
  int votes_ = 0;        // threads that brought a predicate that holds
  int results_[2] = {};  // votes of the last two barriers
  HappensBefore barrier_orders_[2];

  std::vector<std::vector<std::unique_ptr<WarpMeeting>>> warps_;
  std::vector<SharedPart> shared_;
  SharedMemory shared_memory_;
  std::size_t static_bytes_ = 0;
};

// Those of this thread of the operating system, which a grid's blocks take turns with.
struct Blocks {
  Block all[blocks_at_once];
  Block* running = all;
  HappensBefore grid_begins, grid_ends;  // from the host to all threads of a grid, and from them to the host
};
Blocks& own_blocks();
inline Block& running_block() { return *own_blocks().running; }

}  // namespace skymm::cuda_emulation
