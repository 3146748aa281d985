#include <unistd.h>

#include <cstdlib>
#include <string_view>

#include "launch/command.hpp"

int main(int argc, char** argv) {
  // OpenMP reads this once, when the process starts. Threads that spin while they wait slow a shared or oversubscribed
  // machine by far more than they gain, so waiting is passive unless the caller says otherwise.
  if (getenv("OMP_WAIT_POLICY") == nullptr) {
    setenv("OMP_WAIT_POLICY", "passive", 1);
    // A token of an answer is a hundred parallel regions, each as short as waking a thread takes. Where answers are
    // made a thread looks for the next for some 50 us before it sleeps.
    const std::string_view command = argc > 1 ? argv[1] : "";
    if (command == "chat" || command == "eval") setenv("GOMP_SPINCOUNT", "5000", 0);
    execv("/proc/self/exe", argv);  // where that fails the work goes on as it is
  }
  return skymm::run_command_line({argv + 1, argv + argc});
}
