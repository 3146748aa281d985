#include "core/signal_stack.hpp"

#include <signal.h>

#include <cstddef>
#include <vector>

namespace skymm {

void use_signal_stack() {
  constexpr std::size_t bytes = std::size_t{256} << 10;  // to print where all threads are, too
  thread_local std::vector<char> memory;
  if (!memory.empty()) return;
  memory.resize(bytes);
  stack_t stack{};
  stack.ss_sp = memory.data();
  stack.ss_size = memory.size();
  sigaltstack(&stack, nullptr);
}

}  // namespace skymm
