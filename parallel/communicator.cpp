#include "parallel/communicator.hpp"

#include <chrono>
#include <cstdio>
#include <exception>
#include <thread>

#include "core/error.hpp"
#include "core/log.hpp"
#include "ops/kernels/cuda/environment.hpp"
#include "parallel/job.hpp"
#include "parallel/mpi_operation.hpp"
#include "parallel/start_guard.hpp"
#include "parallel/status_board.hpp"
#include "parallel/watchdog.hpp"

namespace skymm {
namespace {

// MPI, and what watches over it: the watchdog lives until MPI has ended.
class MpiSession {
 public:
  MpiSession() {
    cuda::configure_environment();
    int provided = 0;
    {
      const StartGuard guard(watchdog_limit());
      check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread");
    }
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    if (provided < MPI_THREAD_MULTIPLE) log::warn("this MPI lacks MPI_THREAD_MULTIPLE; only one thread may call it");
    board_ = std::make_unique<StatusBoard>();
    set_status_board(board_.get());
    watchdog_ = std::make_unique<Watchdog>(*board_);
  }
  ~MpiSession() {
    RankStatus status = board_->own();
    status.state = RankStatus::State::finished;
    board_->publish(status);
    int finalized = 0;
    MPI_Finalized(&finalized);
    if (finalized == 0) {
      wait_for_others();
      MPI_Finalize();
    }
    watchdog_.reset();
    set_status_board(nullptr);
  }
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

 private:
  // A rank inside MPI_Finalize can hold up the abort of a job whose others still wait for it: all go there together.
  static void wait_for_others() {
    MPI_Request all;
    if (MPI_Ibarrier(MPI_COMM_WORLD, &all) != MPI_SUCCESS) return;
    for (int done = 0; done == 0; std::this_thread::sleep_for(std::chrono::milliseconds(1))) {
      if (MPI_Test(&all, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) return;
    }
  }

  std::unique_ptr<StatusBoard> board_;
  std::unique_ptr<Watchdog> watchdog_;
};

}  // namespace

std::unique_ptr<Communicator> world() {
  const Job job = read_job();
  if (!job.with_mpi) {
    check_ranks(job, 1);
    return std::make_unique<SingleCommunicator>();
  }
  static const MpiSession session;
  MPI_Comm comm;
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &comm), "MPI_Comm_dup");
  auto communicator = std::make_unique<MpiCommunicator>(comm);
  check_ranks(job, communicator->size());
  set_process_rank(communicator->rank());
  return communicator;
}

int run_ranks(const std::function<int()>& body) {
  try {
    return body();
  } catch (const Error& error) {
    log::write(LogLevel::error, error.message_and_place());
  } catch (const std::exception& error) {
    log::write(LogLevel::error, error.what());
  }
  end_ranks(1);
  return 1;
}

void end_ranks(int code) {
  int initialized = 0, finalized = 0;
  MPI_Initialized(&initialized);
  MPI_Finalized(&finalized);
  if (initialized == 0 || finalized != 0) return;
  std::fflush(nullptr);
  abort_job(code);
}

}  // namespace skymm
