// Ends a job that does not come through the start of MPI, before there is a watchdog.
//
// Where a rank dies or stops while the ranks look for each other, the others wait in MPI_Init for ever. The mpirun of
// Open MPI 4.1 may then hang too, and notice no rank's end any more.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

namespace skymm {

class StartGuard {
 public:
  // After `limit` seconds (0: never; not counted while the process is stopped) says so and ends this process with
  // `watchdog_exit_code`. A launcher that is still there seconds later is killed.
  explicit StartGuard(double limit);
  ~StartGuard();  // MPI has started
  StartGuard(const StartGuard&) = delete;
  StartGuard& operator=(const StartGuard&) = delete;

 private:
  void watch(double limit);

  std::mutex mutex_;
  std::condition_variable changed_;
  bool started_ = false;
  std::thread thread_;
};

}  // namespace skymm
