// What the sanitizers must be told of fibers: AddressSanitizer which stack is in use, ThreadSanitizer which accesses a
// barrier orders. Each is nothing in a build without that sanitizer.
//
// For ThreadSanitizer the emulation itself is compiled without -fsanitize=thread and with SKYMM_CUDA_EMULATION_TSAN, so
// that only what kernels do is judged.
#pragma once

#include <cstddef>

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
inline void* tsan_current() { return __tsan_get_current_fiber(); }
inline void* tsan_create() { return __tsan_create_fiber(0); }
inline void tsan_destroy(void* fiber) { __tsan_destroy_fiber(fiber); }
inline void tsan_switch(void* fiber) { __tsan_switch_to_fiber(fiber, 1); }  // 1: orders nothing
inline void tsan_acquire(void* address) { __tsan_acquire(address); }
inline void tsan_release(void* address) { __tsan_release(address); }
#else
inline void* tsan_current() { return nullptr; }
inline void* tsan_create() { return nullptr; }
inline void tsan_destroy(void*) {}
inline void tsan_switch(void*) {}
inline void tsan_acquire(void*) {}
inline void tsan_release(void*) {}
#endif

}  // namespace skymm::cuda_emulation
