// What each rank of a host does at the moment, in memory that the host's ranks share: a rank that is stopped, or that
// computes for ever, cannot be asked. Each rank writes its own place, and its watchdog's heartbeat.
#pragma once

#include <mpi.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "parallel/ledger.hpp"

namespace skymm {

struct RankStatus {
  enum class State : std::uint8_t { computing, waiting, finished };  // finished: only MPI_Finalize is left
  State state = State::computing;
  bool called = false;                     // whether it ever called anything; if not, the rest means nothing
  Call call;                               // that it waits in, or the last that it began
  std::array<char, 40> communicator = {};  // of that call, cut short if need be
  int waits_for = -1;                      // the rank of the job whose message it needs next; -1: unknown
  double since = 0;                        // it does so; steady_seconds

  RankStatus() = default;
  RankStatus(State now, const Call& in, const std::string& of_communicator);  // as of now
};

// What a rank sees of another of its host.
struct RankView {
  int rank = 0;
  RankStatus status;
  double silent = 0;   // seconds without a heartbeat
  char process = 'R';  // its state as /proc/PID/stat has it: T stopped, t traced, Z or X gone, D in the kernel, ...
  bool gone() const { return process == 'Z' || process == 'X'; }
};

class StatusBoard {
 public:
  // Collective over MPI_COMM_WORLD. Where the host has no shared memory (/dev/shm), a rank sees itself alone.
  StatusBoard();
  ~StatusBoard();
  StatusBoard(const StatusBoard&) = delete;
  StatusBoard& operator=(const StatusBoard&) = delete;

  int rank() const { return rank_; }
  const std::string& host_of(int rank) const { return hosts_.at(static_cast<std::size_t>(rank)); }

  void publish(const RankStatus& status);  // by one thread at a time
  RankStatus own() const;
  void beat();                          // the heartbeat, and the progress that this process made (core/progress.hpp)
  std::vector<RankView> ranks() const;  // of this host, in order
  // The progress of this rank, of the one that it waits for, and so on to one that does not wait, in one sum: while
  // these are the same ranks, it stands still where all of them do. What ranks of other hosts do does not show.
  std::uint64_t progress_awaited() const;
  // The next rank of this host, around, if its process is gone before it finished: each looks after one, so that
  // looking costs the same on a host of many ranks.
  std::optional<int> gone_neighbor() const;

  // The job is about to end: true for the first of the host that says so, who reports why.
  bool claim_end();
  double ending_for() const;  // seconds since; 0: it goes on

 private:
  struct Place;
  struct Shared;

  void map_shared(MPI_Comm host);
  std::optional<RankView> view(int place) const;  // none: it could not map the memory
  int place_of(int rank) const;                   // -1: on another host, or it could not map the memory

  int rank_ = 0, size_ = 1;  // in the job
  int place_ = 0, places_ = 1;
  std::vector<std::string> hosts_;
  Shared* shared_ = nullptr;
  std::size_t bytes_ = 0;
};

// The board of this process; null where MPI does not run.
StatusBoard* status_board();
void set_status_board(StatusBoard* board);

// This rank began a call, and goes on.
void publish_begin(const Call& call, const Ledger& ledger);

// This rank waits in a call for as long as the object lives; counts the time.
class WaitScope {
 public:
  WaitScope(const Call& call, Ledger& ledger);
  ~WaitScope();
  WaitScope(const WaitScope&) = delete;
  WaitScope& operator=(const WaitScope&) = delete;

  void update(int waits_for, bool moved);  // a rank of the job; whether a message came or went

 private:
  Ledger& ledger_;
  RankStatus status_;
};

}  // namespace skymm
