// A grid: its blocks in the order of the settings, and the entries that primitives call.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <string_view>

#include "core/error.hpp"
#include "cuda_emulation/block.hpp"

namespace skymm::cuda_emulation {
namespace {

Settings settings_of_environment() {
  const char* value = std::getenv("SKYMM_CUDA_ORDER");
  const std::string_view name = value != nullptr ? value : "";
  if (name.empty() || name == "forward") return {};
  if (name == "reverse") return {.order = Order::reverse};
  Settings random{.order = Order::random};
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), random.seed);
  check(error == std::errc() && end == name.data() + name.size(),
        "SKYMM_CUDA_ORDER is '{}'; give forward, reverse, or a number: the seed of random orders", name);
  return random;
}

void check_sizes(dim3 grid, dim3 block, const SharedMemory& shared) {
  const std::uint64_t threads = std::uint64_t{block.x} * block.y * block.z;
  check(threads > 0 && threads <= 1024 && block.z <= 64, "a CUDA block of {} x {} x {} threads cannot be launched",
        block.x, block.y, block.z);
  check(grid.x > 0 && grid.y > 0 && grid.z > 0 && grid.x <= 0x7fffffffU && grid.y <= 65535 && grid.z <= 65535,
        "a CUDA grid of {} x {} x {} blocks cannot be launched", grid.x, grid.y, grid.z);
  check(shared.dynamic_bytes <= shared.most(), "a CUDA block cannot have {} bytes of dynamic shared memory; {} at most",
        shared.dynamic_bytes, shared.most());
}

}  // namespace

Settings& settings() {
  static Settings settings = settings_of_environment();
  return settings;
}

void run_grid(const std::function<void()>& thread, dim3 grid, dim3 block, SharedMemory shared, Location launch) {
  check_sizes(grid, block, shared);
  const std::uint64_t blocks = std::uint64_t{grid.x} * grid.y * grid.z;
  std::mt19937_64 random(settings().seed);
  std::vector<std::uint64_t> order(blocks);
  for (std::uint64_t i = 0; i < blocks; ++i) order[i] = i;
  if (settings().order == Order::reverse) std::reverse(order.begin(), order.end());
  if (settings().order == Order::random) std::shuffle(order.begin(), order.end(), random);
  Blocks& own = own_blocks();
  own.grid_begins.release();
  unsigned started = 0;
  for (const std::uint64_t i : order) {
    const uint3 index{static_cast<unsigned>(i % grid.x), static_cast<unsigned>(i / grid.x % grid.y),
                      static_cast<unsigned>(i / grid.x / grid.y)};
    own.running = &own.all[started++ % blocks_at_once];
    const std::string failure = own.running->run(thread, grid, block, index, shared, random());
    if (failure.empty()) continue;
    throw Error(fmt::format("emulated CUDA kernel launched by {}: block ({}, {}, {}), {}", launch.function_name(),
                            index.x, index.y, index.z, failure),
                launch);
  }
  own.grid_ends.acquire();
}

void fail_thread(const std::string& what, Location where) { running_block().fail(what, where); }
int block_barrier(int predicate, Reduction reduction, Location where) {
  return running_block().barrier(predicate, reduction, where);
}
Rendezvous& meet(unsigned mask, WarpOperation operation, const void* value, std::size_t bytes, Location where) {
  return running_block().meet(mask, operation, value, bytes, where);
}
void leave(Rendezvous& rendezvous) { --rendezvous.inside; }
void* static_shared(const void* tag, std::size_t bytes, Location where) {
  return running_block().shared(tag, bytes, where);
}
void* dynamic_shared() { return running_block().dynamic_shared(); }

}  // namespace skymm::cuda_emulation
