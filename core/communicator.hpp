// A group of ranks that exchange tensors. parallel/ implements it over MPI, and for a single rank.
#pragma once

#include <array>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.hpp"

namespace skymm {

// An operation under way. OpenMPI moves data only inside MPI calls, so whoever computes meanwhile calls test() of any
// handle, or Communicator::poll(), now and then: each drives all that the thread has under way. A handle that goes out
// of scope waits.
class Handle {
 public:
  class Operation {
   public:
    virtual ~Operation() = default;
    virtual bool test() = 0;  // true once complete
    virtual void wait() = 0;
  };

  Handle() = default;
  explicit Handle(std::unique_ptr<Operation> operation) : operation_(std::move(operation)) {}
  Handle(Handle&&) = default;
  Handle& operator=(Handle&& other) {
    wait();
    operation_ = std::move(other.operation_);
    return *this;
  }
  // While an exception unwinds it does not wait: the message may never come, and the job is about to end.
  ~Handle() {
    if (std::uncaught_exceptions() == 0) wait();
  }

  bool test() {
    if (operation_ && operation_->test()) operation_.reset();
    return operation_ == nullptr;
  }
  void wait() {
    if (operation_) operation_->wait();
    operation_.reset();
  }

 private:
  std::unique_ptr<Operation> operation_;
};

// Waits for all, and clears the list. Sends and receives that depend on each other are begun together and awaited so:
// waiting for one drives the others too.
inline void wait_all(std::vector<Handle>& handles) {
  for (Handle& handle : handles) handle.wait();
  handles.clear();
}

enum class CallKind : std::uint8_t {
  send,
  recv,
  broadcast,
  all_reduce,
  reduce_scatter,
  all_gather,
  all_to_all,
  barrier,
  split
};
inline constexpr int call_kinds = 9;
std::string_view name_of(CallKind kind);

// What this rank did on one communicator, by kind of call.
struct CommunicationCounts {
  struct OfKind {
    std::int64_t calls = 0;
    std::int64_t sent = 0, received = 0;  // bytes that left this rank, that came to it; its own part does not move
    double blocked = 0;                   // seconds spent waiting (Handle::wait and the blocking calls), sums included
  };
  std::array<OfKind, call_kinds> kinds;

  const OfKind& of(CallKind kind) const { return kinds[static_cast<std::size_t>(kind)]; }
  OfKind& of(CallKind kind) { return kinds[static_cast<std::size_t>(kind)]; }
  std::int64_t bytes() const;  // sent + received, all kinds
  double blocked() const;
  CommunicationCounts& operator+=(const CommunicationCounts& other);
  CommunicationCounts operator-(const CommunicationCounts& earlier) const;  // what was done since
};

// Tensors are contiguous, and those of a call on one device. Sums are added in the order of ranks, f32 and bf16 in f32
// (f64 and i64 in their own type), so they are the same on every rank and in every run. Every call checks its buffers,
// and throws Error that names the call.
//
// The calls with an i begin their work and return at once; their tensors belong to them until the handle is complete,
// and all ranks begin collectives in the same order. The others wait, and give the same bits. A handle is tested and
// awaited by the thread that began it.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual const std::string& name() const = 0;  // for messages: "world", "data 3", "pipeline 0"

  virtual Handle isend(const Tensor& x, int to, int tag = 0) = 0;
  virtual Handle irecv(Tensor x, int from, int tag = 0) = 0;
  void send(const Tensor& x, int to, int tag = 0) { isend(x, to, tag).wait(); }
  void recv(Tensor x, int from, int tag = 0) { irecv(x, from, tag).wait(); }

  virtual Handle ibroadcast(Tensor x, int root) = 0;
  virtual Handle iall_reduce(Tensor x) = 0;                           // sum, in place
  virtual Handle ireduce_scatter(const Tensor& x, Tensor shard) = 0;  // x [size * n] -> shard [n]: sum of all's part
  virtual Handle iall_gather(const Tensor& shard, Tensor x) = 0;      // shard [n] -> x [size * n], in rank order
  virtual Handle iall_to_all(const Tensor& x, Tensor y) = 0;          // part r of x goes to rank r; both [size * n]
  void broadcast(Tensor x, int root) { ibroadcast(std::move(x), root).wait(); }
  void all_reduce(Tensor x) { iall_reduce(std::move(x)).wait(); }
  void reduce_scatter(const Tensor& x, Tensor shard) { ireduce_scatter(x, std::move(shard)).wait(); }
  void all_gather(const Tensor& shard, Tensor x) { iall_gather(shard, std::move(x)).wait(); }
  void all_to_all(const Tensor& x, Tensor y) { iall_to_all(x, std::move(y)).wait(); }
  virtual void barrier() = 0;

  // Before tensors of another device than the CPU travel much: makes ready for collectives, or for messages between
  // neighbours (rank r and r + 1, around), where a way is to be had that does without the host's memory. Collective.
  enum class Traffic : std::uint8_t { collectives, messages };
  virtual void prepare(Traffic) {}

  // Drives what this thread has under way, on any communicator. Who computes for long calls it between kernels.
  virtual void poll() = 0;

  // Ranks of one color form a new communicator, ordered by key and then by rank.
  virtual std::unique_ptr<Communicator> split(int color, int key, const std::string& name = "") = 0;

  virtual CommunicationCounts counts() const = 0;  // since this communicator was made
};

}  // namespace skymm
