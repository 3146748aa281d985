// Ranks over MPI, which moves bytes of host memory; sums are made here, in rank order. Tensors of other devices travel
// by the host: a call waits until the current stream has made what it gives, copies that, and enqueues the copy of what
// it gets on the stream that was current when it began.
#pragma once

#include <mpi.h>

#include <memory>
#include <string>

#include "parallel/checked_communicator.hpp"

namespace skymm {

struct MpiChannel;

class MpiCommunicator : public CheckedCommunicator {
 public:
  // Takes comm over: frees it at the end. Collective.
  explicit MpiCommunicator(MPI_Comm comm, const std::string& name = "world");

  void poll() final;

  // Bytes that one message of MPI moves at most; a larger transfer is made of several. For tests.
  void set_largest_message(std::int64_t bytes);

 protected:
  Handle begin(const Call& call, const Tensor& from, const Tensor& to) override;
  std::unique_ptr<Communicator> divide(const Call& call, int color, int key, const std::string& name) override;

  MPI_Comm split_ranks(const Call& call, int color, int key);
  const std::shared_ptr<MpiChannel>& channel() const { return channel_; }

 private:
  explicit MpiCommunicator(std::shared_ptr<MpiChannel> channel);

  std::shared_ptr<MpiChannel> channel_;
};

}  // namespace skymm
