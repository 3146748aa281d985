#include "cuda_emulation/fiber.hpp"

#include <pthread.h>
#include <sys/mman.h>

#include "core/error.hpp"
#include "cuda_emulation/sanitizers.hpp"

#if !defined(__x86_64__)
#error "the switch between fibers is written for x86-64"
#endif

// Saves the registers that a call preserves on the stack that is left, and restores those of the other.
extern "C" void skymm_fiber_switch(void** save, void* load);
asm(R"(
.text
.globl skymm_fiber_switch
.type skymm_fiber_switch,@function
skymm_fiber_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size skymm_fiber_switch, .-skymm_fiber_switch
)");

namespace skymm::cuda_emulation {
namespace {
constexpr std::size_t page = 4096;
constexpr int saved_registers = 6;
}  // namespace

Fiber::Fiber(std::size_t stack_bytes) : stack_bytes_(stack_bytes), owns_stack_(true) {
  void* memory =
      mmap(nullptr, stack_bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  check(memory != MAP_FAILED, "no memory for the stack of an emulated CUDA thread");
  mprotect(memory, page, PROT_NONE);
  stack_ = static_cast<unsigned char*>(memory) + page;
}

Fiber::~Fiber() {
  if (!owns_stack_) return;
  if (tsan_ != nullptr) tsan_destroy(tsan_);
  munmap(stack_ - page, stack_bytes_ + page);
}

void Fiber::prepare(void (*entry)()) {
  // Frames that returned left nothing behind; of those that did not, the last switch knows the lowest address.
  auto* used = stack_pointer_ != nullptr ? static_cast<unsigned char*>(stack_pointer_) : stack_;
  asan_fresh_stack(used, static_cast<std::size_t>(stack_ + stack_bytes_ - used));
  fake_stack_ = nullptr;
  if (!finished_) {  // else ThreadSanitizer's thread goes on with what is next
    if (tsan_ != nullptr) tsan_destroy(tsan_);
    tsan_ = tsan_create();
  }
  finished_ = false;
  auto** top = reinterpret_cast<void**>(stack_ + stack_bytes_);
  *--top = nullptr;  // where entry would return to; also aligns the stack as a call does
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < saved_registers; ++i) *--top = nullptr;
  stack_pointer_ = top;
}

void Fiber::adopt_thread_stack() {
  pthread_attr_t attributes;
  void* bottom = nullptr;
  pthread_getattr_np(pthread_self(), &attributes);
  pthread_attr_getstack(&attributes, &bottom, &stack_bytes_);
  pthread_attr_destroy(&attributes);
  stack_ = static_cast<unsigned char*>(bottom);
}

void Fiber::entered() { asan_finish_switch(nullptr); }

void Fiber::switch_from(Fiber& from, Fiber& to, bool finished) {
  if (from.stack_ == nullptr) from.adopt_thread_stack();
  if (!from.owns_stack_) from.tsan_ = tsan_current();
  from.finished_ = finished;
  asan_start_switch(finished ? nullptr : &from.fake_stack_, to.stack_, to.stack_bytes_);
  tsan_switch(to.tsan_);
  skymm_fiber_switch(&from.stack_pointer_, to.stack_pointer_);
  asan_finish_switch(from.fake_stack_);
}

}  // namespace skymm::cuda_emulation
