// Ranks whose GPUs exchange tensors by NCCL. Tensors of the CPU, and calls that are not prepared for, go by MPI.
//
// NCCL only moves bytes. Sums are made here, by the same kernels on every rank and in the order of ranks, so that they
// have the bits of the MPI communicator's; NCCL's own reductions add in an order that depends on its rings and trees.
//
// A call begins when the stream that is current has made what it gives, and runs on a stream of the communicator's.
// Its handle is complete when that stream has come to its end; who waits does so on the host, where the watchdog sees
// it, asking NCCL for errors meanwhile.
//
// Operations of one NCCL communicator run one after the other, whatever their stream. So each direction of a pair of
// neighbours has one of its own: a message never waits behind another that nobody receives yet. A receive goes to the
// GPU only after the sender has said by MPI that its send has; that header has the tag, so that messages of a pair may
// be received in another order than they were sent, if all are received at once. So the sender must not wait in NCCL
// for the receiver to come, as it does in the first send of a pair: each lane makes that one when it is made.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "parallel/mpi_communicator.hpp"

namespace skymm {

struct NcclLane;

class NcclCommunicator final : public MpiCommunicator {
 public:
  // For tensors of `device`, which has_nccl(). Takes comm over: frees it at the end. Collective.
  NcclCommunicator(MPI_Comm comm, const std::string& name, Device& device);

  void prepare(Traffic traffic) override;

 private:
  Handle begin(const Call& call, const Tensor& from, const Tensor& to) override;
  std::unique_ptr<Communicator> divide(const Call& call, int color, int key, const std::string& name) override;

  void connect_neighbors(int rank);                                             // this one and the next, around
  std::shared_ptr<NcclLane> lane_of(const Call& call, const Tensor& to) const;  // null: the call goes by MPI

  Device& device_;
  std::shared_ptr<NcclLane> collectives_;
  std::map<int, std::shared_ptr<NcclLane>> to_, from_;  // by rank
};

// What moves tensors of GPUs from rank to rank.
enum class Transport : std::uint8_t { automatic, mpi, nccl };
Transport parse_transport(const std::string& name);  // auto, mpi, nccl

// `world`, or the same ranks by NCCL. automatic: where this build has NCCL, the device is a real GPU, and each rank has
// one of its own; else MPI, and the log says why. Throws Error on all ranks where it is to be NCCL and cannot.
// Collective.
std::unique_ptr<Communicator> connect(std::unique_ptr<Communicator> world, Device& device, Transport transport);

}  // namespace skymm
