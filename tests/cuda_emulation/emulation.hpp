// The CUDA execution model on the CPU, to test kernels where there is no GPU. Each thread of a block is a fiber, and
// the blocks of a grid run one after the other, so that a run is repeatable; the order of blocks and threads is
// forward, reverse or shuffled. Orders that CUDA allows but hardware seldom shows are what finds a missing barrier:
// - shared memory is a fresh allocation for each block, filled with NaN: what was not written is seen in the result;
// - operations of a warp are rendezvous of the lanes that their mask names;
// - a cp.async copy arrives only when it is waited for; until then its destination is NaN.
// A breach of the model (see block.cpp) is an Error that names launch, block, thread and source line. What this cannot
// show: weak memory order, PTX, rounding of fast instructions, speed.
#pragma once

#include <cstdint>
#include <functional>
#include <source_location>
#include <string>

#include "cuda_emulation/vector_types.hpp"

namespace skymm {
class Stream;
}

namespace skymm::cuda_emulation {

using Location = std::source_location;

enum class Order : std::uint8_t { forward, reverse, random };

// From the environment variable SKYMM_CUDA_ORDER: forward (the default), reverse, or a number, the seed of shuffles.
struct Settings {
  Order order = Order::forward;
  std::uint64_t seed = 0;
};
Settings& settings();

// The most that a block has of shared memory, static and dynamic together: of the compute capability 8.0 where the
// launch asks for it, and without asking.
inline constexpr std::size_t max_shared = 163 * 1024;
inline constexpr std::size_t max_shared_without_asking = 48 * 1024;

// What a launch says of it.
struct SharedMemory {
  std::size_t dynamic_bytes = 0;
  bool asks = false;  // for more than the 48 KiB

  std::size_t most() const { return asks ? max_shared : max_shared_without_asking; }
};

struct ThreadContext {
  uint3 thread{}, block{};
  dim3 block_size, grid_size;
  unsigned lane = 0, warp = 0;
};
extern thread_local constinit ThreadContext* current;  // of the CUDA thread that runs

// Runs `thread` once for each thread of the grid. Throws Error on a breach of the model.
void run_grid(const std::function<void()>& thread, dim3 grid, dim3 block, SharedMemory shared, Location launch);

[[noreturn]] void fail_thread(const std::string& what, Location where);

enum class Reduction : std::uint8_t { all, any, count };
int block_barrier(int predicate, Reduction reduction, Location where);

// One operation of a warp: what each lane of the mask brought. Every lane reads, then leaves.
enum class WarpOperation : std::uint8_t {
  sync,
  shuffle_xor,
  shuffle_down,
  shuffle_up,
  shuffle,
  ballot,
  load_matrix,
  mma
};
struct Rendezvous {
  static constexpr std::size_t lane_bytes = 32;
  alignas(16) unsigned char data[32][lane_bytes];
  unsigned mask = 0, arrived = 0, inside = 0;
  WarpOperation operation{};
  Location where;
  bool complete = false;
};
Rendezvous& meet(unsigned mask, WarpOperation operation, const void* value, std::size_t bytes, Location where);
void leave(Rendezvous& rendezvous);

// What a lane brings to mma.m16n8k16, and this lane's part of the product of what all brought, added to c.
struct Fragment {
  unsigned a[4], b[2];  // each two bf16
};
void add_product(float (&c)[4], const Rendezvous& all, unsigned lane);

// The block's memory of this tag, made at the first call. The dynamic part has the size given at the launch.
void* static_shared(const void* tag, std::size_t bytes, Location where);
void* dynamic_shared();

// 16 bytes; from global memory where `from_global`, else zeros.
void async_copy(void* to, const void* from, bool from_global, Location where);
void commit_async_copies();
void wait_async_copies(unsigned groups_in_flight);

// Work on a stream of the emulated device that other processes take part in. It is asked again and again, from when its
// turn has come until it says that it is done, and must not wait.
void enqueue_when(Stream& stream, std::function<bool()> done);
// Lets a piece of a stream's work run, as the device does by itself: for who asks whether it has, and does not wait.
void advance(Stream& stream);

}  // namespace skymm::cuda_emulation
