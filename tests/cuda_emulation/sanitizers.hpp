// What the sanitizers must be told of fibers: AddressSanitizer which stack is in use, ThreadSanitizer which CUDA thread
// runs and what orders its accesses. Each is nothing in a build without that sanitizer.
//
// To ThreadSanitizer each CUDA thread is a thread. Of what happens before what it knows only the edges that CUDA gives:
// a kernel's start and end, __syncthreads among a block, __syncwarp among the lanes of its mask, and atomics that
// acquire and release. Nothing orders two blocks of a grid, and a shuffle orders no memory. So a missing barrier is
// reported in whatever order threads ran.
//
// For it the kernels are compiled with -fsanitize=thread, and the emulation without it but with
// SKYMM_CUDA_EMULATION_TSAN, so that only what kernels do is judged. Memory that the emulation allocates, releases or
// fills is seen all the same, as calls of the C library are: it does so under TsanIgnored.
#pragma once

#include <cstddef>
#include <memory>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(SKYMM_CUDA_EMULATION_TSAN)
extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_acquire(void* address);
void __tsan_release(void* address);
void __tsan_read_range(void* address, unsigned long bytes);
void __tsan_write_range(void* address, unsigned long bytes);
void __tsan_ignore_thread_begin();
void __tsan_ignore_thread_end();
}
#endif

namespace skymm::cuda_emulation {

#if defined(__SANITIZE_ADDRESS__)
inline constexpr std::size_t stack_bytes = 512 * 1024;  // frames are larger
inline void asan_start_switch(void** fake, const void* bottom, std::size_t bytes) {
  __sanitizer_start_switch_fiber(fake, bottom, bytes);
}
inline void asan_finish_switch(void* fake) { __sanitizer_finish_switch_fiber(fake, nullptr, nullptr); }
inline void asan_fresh_stack(void* stack, std::size_t bytes) { __asan_unpoison_memory_region(stack, bytes); }
#else
inline constexpr std::size_t stack_bytes = 128 * 1024;
inline void asan_start_switch(void**, const void*, std::size_t) {}
inline void asan_finish_switch(void*) {}
inline void asan_fresh_stack(void*, std::size_t) {}
#endif

#if defined(SKYMM_CUDA_EMULATION_TSAN)
// Threads are costly to make, so every third block has the same ones: what it does counts as after the earlier one's.
inline constexpr unsigned blocks_at_once = 3;
inline void* tsan_current() { return __tsan_get_current_fiber(); }
inline void* tsan_create() { return __tsan_create_fiber(0); }
inline void tsan_destroy(void* fiber) { __tsan_destroy_fiber(fiber); }
inline void tsan_switch(void* fiber) { __tsan_switch_to_fiber(fiber, 1); }  // 1: orders nothing
inline void tsan_read(const void* address, std::size_t bytes) { __tsan_read_range(const_cast<void*>(address), bytes); }
inline void tsan_write(void* address, std::size_t bytes) { __tsan_write_range(address, bytes); }

// While it lives, what the running thread does to memory is not looked at. A thread must not end in it.
struct TsanIgnored {
  TsanIgnored() { __tsan_ignore_thread_begin(); }
  ~TsanIgnored() { __tsan_ignore_thread_end(); }
  TsanIgnored(const TsanIgnored&) = delete;
  TsanIgnored& operator=(const TsanIgnored&) = delete;
};

// What was done before a release happens before what is done after an acquire that follows it.
class HappensBefore {
 public:
  void release() { __tsan_release(address_.get()); }
  void acquire() { __tsan_acquire(address_.get()); }
  void forget() { address_ = std::make_unique<char>(); }  // a new address: nobody has released it yet

 private:
  std::unique_ptr<char> address_ = std::make_unique<char>();
};
#else
inline constexpr unsigned blocks_at_once = 1;
inline void* tsan_current() { return nullptr; }
inline void* tsan_create() { return nullptr; }
inline void tsan_destroy(void*) {}
inline void tsan_switch(void*) {}
inline void tsan_read(const void*, std::size_t) {}
inline void tsan_write(void*, std::size_t) {}
struct TsanIgnored {
  TsanIgnored() {}  // so that one that is not used again gives no warning
};
struct HappensBefore {
  void release() {}
  void acquire() {}
  void forget() {}
};
#endif

}  // namespace skymm::cuda_emulation
