#include "parallel/mpi_communicator.hpp"

#include "core/error.hpp"
#include "parallel/collective_check.hpp"
#include "parallel/mpi_operation.hpp"

namespace skymm {
namespace {

bool gives(const Call& call, int rank) {
  return call.kind != CallKind::recv && (call.kind != CallKind::broadcast || call.peer == rank);
}
bool gets(const Call& call, int rank) {
  return call.kind != CallKind::send && (call.kind != CallKind::broadcast || call.peer != rank);
}

// The tensor itself where it is the host's, else memory of the host for it, with its elements if they are `needed`.
Tensor on_host(const Tensor& x, bool needed) {
  if (!x.defined() || &x.device() == &cpu()) return x;
  const PurposeScope purpose(Purpose::communication);
  return needed ? x.to(cpu()) : Tensor::empty(x.shape(), x.dtype());
}

}  // namespace

MpiCommunicator::MpiCommunicator(MPI_Comm comm, const std::string& name)
    : MpiCommunicator(std::make_shared<MpiChannel>(comm, name)) {}

MpiCommunicator::MpiCommunicator(std::shared_ptr<MpiChannel> channel)
    : CheckedCommunicator(channel->ledger, channel->rank, channel->size), channel_(std::move(channel)) {}

void MpiCommunicator::poll() { poll_operations(); }

void MpiCommunicator::set_largest_message(std::int64_t bytes) {
  check(bytes > 0 && bytes <= std::int64_t{1} << 30, "largest message: {} bytes is not in 1..2^30", bytes);
  channel_->largest_message = bytes;
}

Handle MpiCommunicator::begin(const Call& call, const Tensor& from, const Tensor& to) {
  if (call.collective() && check_collectives()) check_agreement(name(), gather_calls(channel_, call));
  const bool in_place = from.defined() && from.raw() == to.raw() && from.numel() == to.numel();
  const Tensor host_to = on_host(to, in_place && gives(call, rank()));
  const Tensor host_from = in_place ? host_to : on_host(from, true);
  current_stream(cpu()).synchronize();  // MPI reads what queued work computes, and overwrites what it reads
  std::unique_ptr<MpiOperation> operation = make_operation(channel_, call, host_from, host_to);
  if (operation == nullptr) {
    channel_->ledger->complete(call, 0, 0);
    return {};
  }
  if (to.defined() && !host_to.shares_storage(to) && gets(call, rank())) operation->deliver(host_to, to);
  operation->drive();
  return Handle(std::move(operation));
}

// Ranks meet in messages first, where one that is missing can be named; MPI_Comm_split only says that it waits.
MPI_Comm MpiCommunicator::split_ranks(const Call& call, int color, int key) {
  begin(call, {}, {}).wait();
  MPI_Comm part;
  check_mpi(MPI_Comm_split(channel_->messages, color, key, &part), "split");
  return part;
}

std::unique_ptr<Communicator> MpiCommunicator::divide(const Call& call, int color, int key, const std::string& name) {
  return std::make_unique<MpiCommunicator>(split_ranks(call, color, key), name);
}

}  // namespace skymm
