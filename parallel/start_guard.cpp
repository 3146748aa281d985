#include "parallel/start_guard.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <fstream>
#include <string>

extern "C" {  // which glibc 2.36 leaves out
#include <sys/pidfd.h>
}

#include "core/log.hpp"
#include "parallel/watchdog.hpp"

namespace skymm {
namespace {

constexpr std::chrono::milliseconds step(250);
constexpr unsigned seconds_for_launcher = 5;  // to notice that a rank has ended

// mpirun, or its daemon on another host; not Slurm's, and not a person's shell.
bool is_open_mpi(pid_t process) {
  std::string name;
  std::getline(std::ifstream(fmt::format("/proc/{}/comm", process)), name);
  constexpr std::array names{"mpirun", "mpiexec", "orterun", "orted", "prterun", "prted"};
  return std::find(names.begin(), names.end(), name) != names.end();
}

// By a process that outlives this one. It has none of our files: a launcher reads them until nobody has them.
void kill_launcher_later() {
  const pid_t launcher = getppid();
  if (!is_open_mpi(launcher)) return;
  const int handle = pidfd_open(launcher, 0);  // of this process, whoever has its number later
  if (handle < 0 || fork() != 0) return;
  setsid();
  if (handle > 0) close_range(0, static_cast<unsigned>(handle) - 1, 0);
  close_range(static_cast<unsigned>(handle) + 1, ~0U, 0);
  sleep(seconds_for_launcher);
  pidfd_send_signal(handle, SIGKILL, nullptr, 0);
  _exit(0);
}

}  // namespace

StartGuard::StartGuard(double limit) {
  if (limit > 0) thread_ = std::thread([this, limit] { watch(limit); });
}

StartGuard::~StartGuard() {
  {
    const std::lock_guard lock(mutex_);
    started_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void StartGuard::watch(double limit) {
  std::unique_lock lock(mutex_);
  for (double waited = 0; waited < limit; waited += std::chrono::duration<double>(step).count()) {
    if (changed_.wait_for(lock, step, [this] { return started_; })) return;
  }
  log::write(LogLevel::error,
             fmt::format("MPI has not started within {} s: another rank died or stopped meanwhile, or a host cannot be "
                         "reached; the job ends, start it again",
                         limit));
  kill_launcher_later();
  _exit(watchdog_exit_code);
}

}  // namespace skymm
