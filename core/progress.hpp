// That this process gets on with its work. What takes long counts its parts: a block computed, a weight read or
// written, a token said. So who waits for this process (parallel/watchdog.hpp) can tell long work from a process that
// hangs.
#pragma once

#include <atomic>
#include <cstdint>

namespace skymm {

inline std::atomic<std::uint64_t> parts_done = 0;

inline void made_progress() { parts_done.fetch_add(1, std::memory_order_relaxed); }          // by any thread
inline std::uint64_t progress_made() { return parts_done.load(std::memory_order_relaxed); }  // so far

}  // namespace skymm
