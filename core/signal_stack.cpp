#include "core/signal_stack.hpp"

#include <signal.h>

#include <cstddef>
#include <memory>

namespace skymm {
namespace {

struct SignalStack {
  SignalStack() {
    stack_t stack{};
    stack.ss_sp = memory.get();
    stack.ss_size = bytes;
    sigaltstack(&stack, nullptr);
  }
  ~SignalStack() {
    stack_t none{};
    none.ss_flags = SS_DISABLE;
    sigaltstack(&none, nullptr);
  }
  SignalStack(const SignalStack&) = delete;
  SignalStack& operator=(const SignalStack&) = delete;

  static constexpr std::size_t bytes = std::size_t{64} << 10;  // to print where the thread is, too
  std::unique_ptr<char[]> memory{new char[bytes]};
};

}  // namespace

void use_signal_stack() { thread_local const SignalStack stack; }

}  // namespace skymm
