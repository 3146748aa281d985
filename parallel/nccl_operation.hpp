// Operations under way by NCCL: enqueued as they begin, complete when their stream has come so far.
#pragma once

#include <memory>

#include "parallel/mpi_operation.hpp"
#include "parallel/nccl/channel.hpp"

namespace skymm {

// An NCCL communicator, and the stream that it works on. Nothing else runs there, and no memory is allocated for it: a
// stream that computes never waits for one whose end depends on other ranks.
struct NcclLane {
  // Collective over `ranks`; those of a lane for messages are two, the sender first. Returns when they are connected.
  NcclLane(MPI_Comm ranks, Device& device, Communicator::Traffic traffic);

  std::unique_ptr<Stream> stream;
  std::unique_ptr<NcclChannel> channel;
  std::int64_t messages = 0;  // that were enqueued
};

// Not begun yet. from and to as in CheckedCommunicator, not empty.
std::unique_ptr<MpiOperation> make_nccl_operation(std::shared_ptr<const MpiChannel> channel, const Call& call,
                                                  const Tensor& from, const Tensor& to, std::shared_ptr<NcclLane> lane);

}  // namespace skymm
