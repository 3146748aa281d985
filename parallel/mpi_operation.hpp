// Operations under way over MPI: messages, and what is made of them as they arrive.
//
// Every operation is made of point-to-point messages of bytes. So a rank that waits knows for whom, an operation needs
// no MPI type or sum, and all of them go on together: whoever tests or awaits one operation drives all that its thread
// began. (OpenMPI moves data only inside MPI calls. Were only the awaited one driven, two ranks that await their
// operations in different order would wait for ever.)
#pragma once

#include <mpi.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "core/communicator.hpp"
#include "parallel/ledger.hpp"

namespace skymm {

// Throws Error with MPI's own words unless `code` is MPI_SUCCESS.
void check_mpi(int code, const char* call);

// The ranks of one communicator, and how they talk. Operations keep it alive.
struct MpiChannel {
  MPI_Comm messages = MPI_COMM_NULL;     // send and recv, with the caller's tags
  MPI_Comm collectives = MPI_COMM_NULL;  // of the same ranks
  int rank = 0, size = 1;
  std::vector<int> job_ranks;  // rank here -> rank in the job
  std::int64_t largest_message = std::int64_t{1} << 30;
  std::shared_ptr<Ledger> ledger;

  MpiChannel(MPI_Comm comm, const std::string& name);  // takes it over: frees it at the end
  ~MpiChannel();
  MpiChannel(const MpiChannel&) = delete;
  MpiChannel& operator=(const MpiChannel&) = delete;
};

class MpiOperation : public Handle::Operation {
 public:
  static constexpr int agreement_lane = 2, header_lane = 3;

  // kept: what the messages read and write; it lives until they are complete.
  MpiOperation(std::shared_ptr<const MpiChannel> channel, const Call& call, std::vector<Tensor> kept);
  ~MpiOperation() override;
  MpiOperation(const MpiOperation&) = delete;
  MpiOperation& operator=(const MpiOperation&) = delete;

  bool test() final;
  void wait() final;

  // Before the first step: when the operation is complete, `to`, of another device than the CPU, is to get what arrived
  // in `host`; on the stream that is current now.
  void deliver(const Tensor& host, const Tensor& to) { delivery_ = {host, to, &current_stream(to.device())}; }

  // The first step, then from each poll. Throws Error where a message is not what was expected.
  void drive();
  bool complete() const { return state_ == State::complete; }

 protected:
  // Messages that are awaited in order.
  struct Message {
    MPI_Request request;
    std::int64_t expected;  // bytes to receive; -1 for one that is sent
    int peer;
  };
  struct Round {
    std::vector<Message> messages;
    std::size_t done = 0;

    bool complete() const { return done == messages.size(); }
    void clear() { *this = {}; }
  };

  // lane: messages of a pair of ranks stay in order within a lane of an operation: 0, 1, or one whose bytes are not
  // counted: the one where ranks compare what they call, which is the same for all operations, and that of a header of
  // what travels by other means. A transfer larger than the channel's largest message is made of several, one of no
  // bytes is a message too.
  void send(Round& round, const void* from, std::int64_t bytes, int to, int lane = 0);
  void receive(Round& round, void* to, std::int64_t bytes, int from, int lane = 0);
  bool arrived(Round& round);  // true once all its messages are complete

  // Bytes that moved by other means than MPI.
  void book(std::int64_t sent, std::int64_t received) {
    sent_ += sent;
    received_ += received;
  }

  void wait_for(int rank) { waits_for_ = rank; }  // as the watchdog is to say

  void keep(const Tensor& x) { kept_.push_back(x); }
  const MpiChannel& channel() const { return *channel_; }
  const Call& call() const { return call_; }
  int peer_at(int distance) const { return (channel_->rank + distance) % channel_->size; }

 private:
  enum class State : std::uint8_t { fresh, running, complete, failed };

  virtual void begin() = 0;    // posts the first messages
  virtual bool advance() = 0;  // goes on as far as messages have arrived; true at the end

  struct Delivery {
    Tensor host, to;
    Stream* stream = nullptr;
  };

  int tag(int lane) const;
  void count(std::int64_t& bytes, std::int64_t more, int lane);
  void finish(int code, const MPI_Status& status, const Message& message) const;

  std::shared_ptr<const MpiChannel> channel_;
  Call call_;
  std::vector<Tensor> kept_;
  Delivery delivery_;
  State state_ = State::fresh;
  std::int64_t sent_ = 0, received_ = 0;
  bool agreement_ = false;
  int waits_for_ = -1;  // rank here
};

// Drives all that this thread has under way.
void poll_operations();

// The messages that make a call: not begun yet; null where there is nothing to do. from and to as in
// CheckedCommunicator.
std::unique_ptr<MpiOperation> make_operation(std::shared_ptr<const MpiChannel> channel, const Call& call,
                                             const Tensor& from, const Tensor& to);

// All ranks' calls, in order of ranks: each rank sends its own. Waits.
std::vector<Call> gather_calls(std::shared_ptr<const MpiChannel> channel, const Call& call);

}  // namespace skymm
