// Notices a rank that hangs, says which ranks wait in which call and for whom, and ends the job.
//
// A thread a rank, from the start of MPI to its end. It never calls MPI but to abort: it reads what ranks publish on
// the status board of their host. A rank has waited too long where nothing moved in its call, and whom it waits for (or
// who that one waits for, and so on) made no progress either: a rank may compute, load or write for as long as it gets
// on (core/progress.hpp). Then, and where the process of a rank of the host is gone, the first to notice reports and
// ends all ranks with `watchdog_exit_code`. What ranks of other hosts do it cannot see, their progress neither; but it
// knows for whom its own wait, and each host reports for itself. A job that is suspended as a whole and resumed (Slurm
// does that) does not count as hanging. A rank that has ended its work waits for the others without limit. On SIGUSR2
// it prints what this rank does and its last calls, and the job goes on. Where there is a run directory
// (parallel/stacks.hpp) each rank also writes there where its threads are.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>

#include "parallel/status_board.hpp"

namespace skymm {

inline constexpr int watchdog_exit_code = 70;

// How long a rank may wait in a call while nothing moves and nobody gets on; 300 at first, 0: for ever. Of the whole
// process; takes effect at once.
void set_watchdog_limit(double seconds);
double watchdog_limit();

// While one lives, no wait of this rank is too long: for a share of work that may take others much longer. The limit
// holds again for what it waits in afterwards. That the process of a rank is gone is noticed all the same.
class UnlimitedWaits {
 public:
  UnlimitedWaits();
  ~UnlimitedWaits();
  UnlimitedWaits(const UnlimitedWaits&) = delete;
  UnlimitedWaits& operator=(const UnlimitedWaits&) = delete;
};

// Ends the processes of all ranks at once and does not return. Should that hang too, this process ends alone, seconds
// later. The first thread that calls it names the code; another waits for the end, since it may fail only because the
// first takes away what it works with.
[[noreturn]] void abort_job(int code);

class Watchdog {
 public:
  explicit Watchdog(StatusBoard& board);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  void run();
  void look();
  double wait_so_far();  // seconds; 0: this rank does not wait
  void end_job(const std::string& why);

  StatusBoard& board_;
  double looked_ = 0;           // when this thread looked last
  std::uint64_t progress_ = 0;  // of those that are waited for, then
  double waited_ = 0;           // seconds without any
  bool stacks_written_ = false;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace skymm
