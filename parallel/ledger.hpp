// What this process called on each communicator: the last calls, for messages, and counts of all, for figures.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "core/communicator.hpp"

namespace skymm {

struct Call {
  CallKind kind = CallKind::barrier;
  DType dtype = DType::u8;
  int peer = -1;             // whom send and recv talk to, the root of broadcast; else -1
  int tag = 0;               // of send and recv
  std::int64_t count = 0;    // elements of the whole, not of a rank's part
  std::uint64_t number = 0;  // a communicator's collectives are numbered from 1, its sends and receives on their own

  bool collective() const { return kind != CallKind::send && kind != CallKind::recv; }
  std::string str() const;  // "all_reduce #17 (f32 x 4096)", "recv #3 from rank 1 (bf16 x 64)"
  bool operator==(const Call&) const = default;
};

// Seconds of a clock that never jumps and is the same for all processes of a host.
double steady_seconds();

// Of one communicator on this rank. The watchdog's thread reads it while the rank works.
class Ledger {
 public:
  static constexpr std::size_t kept = 64;  // calls that it remembers

  explicit Ledger(std::string communicator);
  ~Ledger();
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  const std::string& communicator() const { return communicator_; }

  Call begin(Call call);                                                      // notes it, and gives it its number
  void complete(const Call& call, std::int64_t sent, std::int64_t received);  // bytes
  void blocked(CallKind kind, double seconds);

  CommunicationCounts counts() const;
  // The last calls, oldest first, one a line: "all_reduce #17 (f32 x 4096), complete" or "..., begun 3.2 s ago".
  std::string str(std::size_t calls = kept) const;

 private:
  struct Entry {
    Call call;
    double begun = 0;
    bool complete = false;
  };

  std::string communicator_;
  mutable std::mutex mutex_;
  std::vector<Entry> ring_;
  std::uint64_t entries_ = 0, collectives_ = 0, messages_ = 0;
  CommunicationCounts counts_;
};

// Of all communicators of this process, those that are gone included.
CommunicationCounts communication_counts();

// The last calls on each living communicator, for a person.
std::string all_ledgers(std::size_t calls);

}  // namespace skymm
