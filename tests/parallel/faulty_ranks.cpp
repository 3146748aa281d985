// Ranks that fail in a way that their argument names, for tests/parallel/faults: each must end the job, and be named.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <utility>

#include "core/error.hpp"
#include "core/log.hpp"
#include "core/progress.hpp"
#include "ops/kernels/cuda/device.hpp"
#include "ops/kernels/kernels.hpp"
#include "parallel/communicator.hpp"
#include "parallel/job.hpp"
#include "parallel/nccl_communicator.hpp"
#include "parallel/shared_memory.hpp"
#include "parallel/watchdog.hpp"

namespace skymm {
namespace {

constexpr int faulty = 1;  // the rank; of three, or two

// What ranks compute on that move tensors by NCCL: a GPU where the environment says so.
Device& device_for_nccl() {
  const char* name = std::getenv("SKYMM_TEST_DEVICE");
  return open_device(name != nullptr ? name : "emulated-cuda", read_job().local_rank);
}

// As a job does with its ranks. Where they cannot have NCCL, all end with 77, "skipped".
std::unique_ptr<Communicator> connect_by_nccl(std::unique_ptr<Communicator> ranks) {
  try {
    ranks = connect(std::move(ranks), device_for_nccl(), Transport::nccl);
  } catch (const Error& error) {
    log::info("skipped: {}", error.message());
    std::_Exit(77);
  }
  ranks->prepare(Communicator::Traffic::collectives);
  return ranks;
}

Tensor ones(std::int64_t n) { return Tensor::full({n}, DType::f32, 1); }

// All ranks call all_reduce but the faulty one, which does `instead`.
void sum_but(Communicator& ranks, const std::function<void()>& instead) {
  if (ranks.rank() == faulty) instead();
  ranks.all_reduce(ones(3000));
}

void sleep_for_ever() {
  for (;;) std::this_thread::sleep_for(std::chrono::seconds(1));
}

// Longer than a rank may wait, part by part.
void work_for_long() {
  for (double worked = 0; worked < watchdog_limit() + 3; worked += 0.1) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    made_progress();
  }
}

// The launcher does not see who ends, for some seconds: a process of none of our files lets it go on.
void stop_launcher_for_a_while() {
  const pid_t launcher = getppid();
  if (fork() == 0) {
    close_range(0, ~0U, 0);
    sleep(3);
    kill(launcher, SIGCONT);
    _exit(0);
  }
  kill(launcher, SIGSTOP);
}

// As /proc tells it: "00:01 1234", device and inode.
std::string number_of_shared_file() {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find("memfd:skymm") == std::string::npos) continue;
    std::istringstream words(line);
    std::string skipped, device, inode;
    words >> skipped >> skipped >> skipped >> device >> inode;
    return device + " " + inode;
  }
  fail("no memory is shared");
}

const std::map<std::string, std::function<void(Communicator&)>> scenarios = {
    {"stopped", [](Communicator& ranks) { sum_but(ranks, [] { raise(SIGSTOP); }); }},
    {"stopped_inside",
     [](Communicator& ranks) {
       sum_but(ranks, [&] {
         Handle begun = ranks.iall_reduce(ones(3000));
         raise(SIGSTOP);
       });
     }},
    {"computing", [](Communicator& ranks) { sum_but(ranks, sleep_for_ever); }},
    {"slow",  // not a fault either; one rank waits for it through another
     [](Communicator& ranks) {
       if (ranks.rank() == faulty) work_for_long();
       if (ranks.rank() == 0) ranks.recv(ones(10), faulty, 5);
       if (ranks.rank() == faulty) ranks.send(ones(10), 0, 5);
       if (ranks.rank() == 0) ranks.send(ones(10), 2, 5);
       if (ranks.rank() == 2) ranks.recv(ones(10), 0, 5);
     }},
    {"slow_then_stopped",
     [](Communicator& ranks) {
       sum_but(ranks, [] {
         work_for_long();
         raise(SIGSTOP);
       });
     }},
    {"killed_unnoticed",  // by the launcher
     [](Communicator& ranks) {
       sum_but(ranks, [] {
         stop_launcher_for_a_while();
         raise(SIGKILL);
       });
     }},
    {"killed",  // in the middle of a large sum
     [](Communicator& ranks) {
       Handle sum = ranks.iall_reduce(ones(3000000));
       if (ranks.rank() == faulty) raise(SIGKILL);
       sum.wait();
     }},
    {"killed_sharing",  // with memory that all have; its file's number is said, to look for it afterwards
     [](Communicator& ranks) {
       const SharedMemory::Made made = SharedMemory::make(ranks, std::size_t{1} << 24);
       check(made.memory != nullptr, "no shared memory: {}", made.problem);
       made.memory->set_writing(ranks.rank() == faulty);
       auto* const bytes = static_cast<char*>(made.memory->allocate(std::size_t{1} << 24));
       if (ranks.rank() == faulty) std::memset(bytes, 1, std::size_t{1} << 24);
       made.memory->seal(ranks);
       if (ranks.rank() == 0) log::info("shared file {}", number_of_shared_file());
       sum_but(ranks, [] { raise(SIGKILL); });
     }},
    {"suspended",  // not a fault: the others are stopped for longer than they may wait, and go on
     [](Communicator& ranks) {
       const Tensor pids = Tensor::zeros({ranks.size()}, DType::i64);
       ranks.all_gather(Tensor::full({1}, DType::i64, getpid()), pids);
       const auto signal_others = [&](int signal) {
         for (int r = 0; r < ranks.size(); ++r) {
           if (r != faulty) kill(static_cast<pid_t>(pids.to_vector<std::int64_t>()[r]), signal);
         }
       };
       sum_but(ranks, [&] {
         std::this_thread::sleep_for(std::chrono::seconds(1));  // until they wait
         signal_others(SIGSTOP);
         std::this_thread::sleep_for(std::chrono::duration<double>(watchdog_limit() + 2));
         signal_others(SIGCONT);
         std::this_thread::sleep_for(std::chrono::seconds(1));  // for their watchdogs to look
       });
     }},
    {"uneven",  // one has more to do than the others may wait, which is no fault where they say so; then it hangs
     [](Communicator& ranks) {
       {
         const UnlimitedWaits waits;
         sum_but(ranks, [] { std::this_thread::sleep_for(std::chrono::duration<double>(watchdog_limit() + 2)); });
       }
       sum_but(ranks, [] { raise(SIGSTOP); });
     }},
    {"ended", [](Communicator& ranks) { sum_but(ranks, [] { std::exit(0); }); }},
    {"fails", [](Communicator& ranks) { sum_but(ranks, [] { fail("the disk is full"); }); }},
    {"other_collective",
     [](Communicator& ranks) { sum_but(ranks, [&] { ranks.all_gather(ones(4), ones(4 * ranks.size())); }); }},
    {"deadlock_by_nccl",  // of messages that nobody receives; that they are aborted fails them
     [](Communicator& ranks) {
       MPI_Comm comm;
       MPI_Comm_dup(MPI_COMM_WORLD, &comm);
       NcclCommunicator by_nccl(comm, "by_nccl", cuda::emulated_device());
       by_nccl.prepare(Communicator::Traffic::messages);
       const Tensor x = Tensor::zeros({10}, DType::f32, cuda::emulated_device());
       by_nccl.send(x, (ranks.rank() + 1) % ranks.size(), 5);
     }},
    {"collective_by_nccl",  // which the faulty rank does not call: the GPU waits, and that it is aborted fails it
     [](Communicator& ranks) {
       if (ranks.rank() == faulty) ranks.recv(ones(10), 0, 5);
       Device& device = device_for_nccl();
       const Tensor mine = Tensor::zeros({10}, DType::f32, device);
       ranks.all_gather(mine, Tensor::zeros({10 * ranks.size()}, DType::f32, device));
     }},
    {"deadlock", [](Communicator& ranks) { ranks.recv(ones(10), (ranks.rank() + 1) % ranks.size(), 5); }},
};

// The same, before MPI starts: what the faulty rank does.
const std::map<std::string, std::function<void()>> before_start = {
    {"stopped_at_start",
     [] {
       if (read_job().rank == faulty) raise(SIGSTOP);
     }},
    {"launcher_stopped",  // as hangs the one that loses a rank at the wrong moment
     [] {
       if (read_job().rank == faulty) kill(getppid(), SIGSTOP);
     }},
};

}  // namespace
}  // namespace skymm

// faulty_ranks SCENARIO WATCHDOG_SECONDS [check]
int main(int argc, char** argv) {
  using namespace skymm;
  return run_ranks([&] {
    check(argc >= 3 && (scenarios.contains(argv[1]) || before_start.contains(argv[1])),
          "usage: {} SCENARIO WATCHDOG_SECONDS [check]", argv[0]);
    set_watchdog_limit(std::atof(argv[2]));
    set_check_collectives(argc > 3);
    if (before_start.contains(argv[1])) before_start.at(argv[1])();
    auto ranks = world();
    if (argv[1] == std::string("collective_by_nccl")) ranks = connect_by_nccl(std::move(ranks));
    ranks->barrier();
    if (scenarios.contains(argv[1])) scenarios.at(argv[1])(*ranks);
    ranks->barrier();
    return 0;
  });
}
