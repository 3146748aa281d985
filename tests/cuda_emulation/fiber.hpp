// Fibers: the threads of an emulated CUDA block, which take turns on one thread of the operating system. A hand-written
// switch of x86-64 registers, as ucontext's makes two system calls each time.
#pragma once

#include <cstddef>

namespace skymm::cuda_emulation {

class Fiber {
 public:
  Fiber() = default;                        // the context that is running, to come back to
  explicit Fiber(std::size_t stack_bytes);  // with a stack of its own, above a page that faults
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // The next switch to it calls `entry` on an empty stack. `entry` never returns: its last act is a switch elsewhere.
  void prepare(void (*entry)());
  // To be called first in every entry: tells AddressSanitizer on which stack it is.
  static void entered();
  // Returns when somebody switches back to `from`; never where `from` is finished.
  static void switch_from(Fiber& from, Fiber& to, bool finished = false);

 private:
  void adopt_thread_stack();

  void* stack_pointer_ = nullptr;
  unsigned char* stack_ = nullptr;  // the lowest byte
  std::size_t stack_bytes_ = 0;
  bool owns_stack_ = false;
  bool finished_ = false;
  void* fake_stack_ = nullptr;  // AddressSanitizer's
  void* tsan_ = nullptr;        // ThreadSanitizer's
};

}  // namespace skymm::cuda_emulation
