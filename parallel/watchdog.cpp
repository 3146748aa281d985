#include "parallel/watchdog.hpp"

#include <mpi.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <string>
#include <utility>

#include "core/error.hpp"
#include "core/signal_stack.hpp"
#include "parallel/hang_report.hpp"
#include "parallel/nccl/channel.hpp"
#include "parallel/stacks.hpp"

namespace skymm {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds period{200};          // of looking, and of the heartbeat
constexpr double longest_step = 1;           // seconds that one look adds to a wait at most
constexpr milliseconds for_stacks{1000};     // that the other ranks of the host get to write theirs
constexpr int patience_with_abort = 4;       // seconds, then a rank ends alone
constexpr std::size_t calls_on_request = 8;  // of each communicator

std::atomic<double> limit{300};
std::atomic<int> unlimited{0};   // UnlimitedWaits that live
std::atomic<bool> asked{false};  // by SIGUSR2
static_assert(std::atomic<bool>::is_always_lock_free);

// One write, so that ranks do not interleave; not through stdio, whose lock a stopped or failing thread may hold.
void say(const std::string& text) {
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), text.size());
}

}  // namespace

void set_watchdog_limit(double seconds) {
  check(seconds >= 0, "watchdog: a limit of {} seconds is negative; 0 turns it off", seconds);
  limit = seconds;
}

double watchdog_limit() { return limit; }

UnlimitedWaits::UnlimitedWaits() { ++unlimited; }
UnlimitedWaits::~UnlimitedWaits() { --unlimited; }

void abort_job(int code) {
  static std::atomic_flag ending;
  if (ending.test_and_set()) {
    for (;;) ::pause();
  }
  if (StatusBoard* board = status_board()) board->claim_end();
  std::thread([code] {
    std::this_thread::sleep_for(std::chrono::seconds(patience_with_abort));
    ::_exit(code);
  }).detach();
  abort_nccl_channels();
  MPI_Abort(MPI_COMM_WORLD, code);
  ::_exit(code);
}

Watchdog::Watchdog(StatusBoard& board) : board_(board) {
  use_signal_stack();
  struct sigaction previous {};
  if (sigaction(SIGUSR2, nullptr, &previous) == 0 && previous.sa_handler == SIG_DFL) {
    struct sigaction action {};
    action.sa_handler = [](int) { asked = true; };
    action.sa_flags = SA_RESTART | SA_ONSTACK;
    sigaction(SIGUSR2, &action, nullptr);
  }
  // Signals are for the program's own threads.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Watchdog::~Watchdog() {
  stop_ = true;
  thread_.join();
}

void Watchdog::run() {
  for (; !stop_; std::this_thread::sleep_for(period)) {
    board_.beat();
    if (asked.exchange(false)) {
      RankView view{.rank = board_.rank(), .status = board_.own()};
      say(fmt::format("rank {} {}\n{}", board_.rank(), describe(view, steady_seconds()),
                      all_ledgers(calls_on_request)));
      write_stacks("asked by a signal");
    }
    look();
  }
}

void Watchdog::look() {
  if (board_.ending_for() > 0 && !stacks_written_) {  // another rank of this host ends the job, and gives time for it
    stacks_written_ = true;
    write_stacks("the job ends: see the report of the watchdog that ends it");
  }
  // A rank that already ends the job may be unable to: then each goes alone.
  if (board_.ending_for() > 2 * patience_with_abort) ::_exit(watchdog_exit_code);
  if (board_.ending_for() > 0) return;
  if (const auto gone = board_.gone_neighbor()) return end_job(fmt::format("the process of rank {} is gone", *gone));
  if (limit > 0 && wait_so_far() > limit) {
    end_job(fmt::format(
        "this rank waits, and for {:.0f} s nothing has moved and nobody of this host that it waits for got on; "
        "parallel.watchdog_seconds {} is the limit",
        waited_, watchdog_limit()));
  }
}

// Added up look by look: a process that was stopped for hours and goes on has not waited for hours.
double Watchdog::wait_so_far() {
  const double now = steady_seconds(), since_last = now - std::exchange(looked_, now);
  const std::uint64_t progress = board_.progress_awaited(), before = std::exchange(progress_, progress);
  const bool waits = board_.own().state == RankStatus::State::waiting && progress == before;
  waited_ = waits && unlimited == 0 ? waited_ + std::min(since_last, longest_step) : 0;
  return waited_;
}

void Watchdog::end_job(const std::string& why) {
  if (!board_.claim_end()) return;
  stacks_written_ = true;
  const std::string stacks = write_stacks("the watchdog ends the job: " + why);
  const std::string ranks =
      describe_hang(board_.rank(), board_.ranks(), steady_seconds(), [this](int rank) { return board_.host_of(rank); });
  const std::string where =
      stacks.empty() ? "" : fmt::format(" What every thread of each rank does is beside {}.", stacks);
  say(fmt::format("error (rank {}): watchdog: {}; the ranks of host {}:\n{}\nThe job ends.{}\n", board_.rank(), why,
                  board_.host_of(board_.rank()), ranks, where));
  if (!stacks.empty()) std::this_thread::sleep_for(for_stacks);
  abort_job(watchdog_exit_code);
}

}  // namespace skymm
