#include "parallel/nccl_communicator.hpp"

#include <unistd.h>

#include <array>
#include <utility>

#include "core/error.hpp"
#include "core/log.hpp"
#include "parallel/collective_check.hpp"
#include "parallel/gather_text.hpp"
#include "parallel/mpi_operation.hpp"
#include "parallel/nccl_operation.hpp"

namespace skymm {

NcclCommunicator::NcclCommunicator(MPI_Comm comm, const std::string& name, Device& device)
    : MpiCommunicator(comm, name), device_(device) {}

// Ranks meet in messages first, which the watchdog sees: making an NCCL communicator waits for all without a word.
void NcclCommunicator::prepare(Traffic traffic) {
  if (size() == 1) return;
  gather_calls(channel(), {CallKind::barrier});
  if (traffic == Traffic::collectives) {
    if (!collectives_) collectives_ = std::make_shared<NcclLane>(channel()->collectives, device_, traffic);
    return;
  }
  if (!to_.empty()) return;
  const int pairs = size() == 2 ? 1 : size();
  for (int pair = 0; pair < pairs; ++pair) connect_neighbors(pair);  // in this order, or all would wait for their next
}

void NcclCommunicator::connect_neighbors(int first) {
  const int second = (first + 1) % size();
  if (rank() != first && rank() != second) return;
  const int peer = rank() == first ? second : first;
  MPI_Group all, two;
  check_mpi(MPI_Comm_group(channel()->collectives, &all), "MPI_Comm_group");
  for (const auto& [sender, receiver] : {std::pair(first, second), std::pair(second, first)}) {
    const std::array ranks{sender, receiver};
    MPI_Comm pair;
    check_mpi(MPI_Group_incl(all, 2, ranks.data(), &two), "MPI_Group_incl");
    check_mpi(MPI_Comm_create_group(channel()->collectives, two, first, &pair), "MPI_Comm_create_group");
    (rank() == sender ? to_ : from_)[peer] = std::make_shared<NcclLane>(pair, device_, Traffic::messages);
    MPI_Comm_free(&pair);
    MPI_Group_free(&two);
  }
  MPI_Group_free(&all);
}

std::shared_ptr<NcclLane> NcclCommunicator::lane_of(const Call& call, const Tensor& to) const {
  if (!to.defined() || &to.device() != &device_ || call.count == 0) return nullptr;
  if (call.collective()) {
    const bool sums = call.kind == CallKind::all_reduce || call.kind == CallKind::reduce_scatter;
    return sums && to.dtype() == DType::i64 ? nullptr : collectives_;  // devices do not add integers
  }
  const auto& lanes = call.kind == CallKind::send ? to_ : from_;
  const auto found = lanes.find(call.peer);
  return found == lanes.end() ? nullptr : found->second;
}

Handle NcclCommunicator::begin(const Call& call, const Tensor& from, const Tensor& to) {
  std::shared_ptr<NcclLane> lane = lane_of(call, to);
  if (lane == nullptr) return MpiCommunicator::begin(call, from, to);
  if (call.collective() && check_collectives()) check_agreement(name(), gather_calls(channel(), call));
  std::unique_ptr<MpiOperation> operation = make_nccl_operation(channel(), call, from, to, std::move(lane));
  operation->drive();
  return Handle(std::move(operation));
}

std::unique_ptr<Communicator> NcclCommunicator::divide(const Call& call, int color, int key, const std::string& name) {
  return std::make_unique<NcclCommunicator>(split_ranks(call, color, key), name, device_);
}

// ---- the choice ----------------------------------------------------------------------------------------------------

namespace {

// Of the first two ranks that share a GPU; empty where each has its own. The same on all ranks.
std::string shared_gpu(Communicator& world, const Device& device) {
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  std::map<std::string, std::size_t> ranks;
  const std::vector<std::string> gpus = gather_text(world, fmt::format("{} of {}", gpu_of(device), host.data()));
  for (std::size_t r = 0; r < gpus.size(); ++r) {
    const auto [other, is_first] = ranks.emplace(gpus[r], r);
    if (!is_first) return fmt::format("ranks {} and {} share the GPU {}", other->second, r, gpus[r]);
  }
  return {};
}

std::string why_not_nccl(Communicator& world, const Device& device) {
  if (device.kind() == DeviceKind::cpu) return "it moves tensors of GPUs, and these ranks compute on the cpu";
  if (!has_nccl(device)) return "this build has none; install NCCL and configure the preset cuda again";
  return shared_gpu(world, device);
}

}  // namespace

Transport parse_transport(const std::string& name) {
  if (name == "auto") return Transport::automatic;
  if (name == "mpi") return Transport::mpi;
  check(name == "nccl", "'{}' moves no tensors; it takes auto, mpi or nccl", name);
  return Transport::nccl;
}

std::unique_ptr<Communicator> connect(std::unique_ptr<Communicator> world, Device& device, Transport transport) {
  const bool tries = transport == Transport::nccl ||
                     (transport == Transport::automatic && device.kind() == DeviceKind::cuda && !device.is_emulated());
  if (!tries || world->size() == 1) return world;
  const std::string why_not = why_not_nccl(*world, device);
  check(why_not.empty() || transport == Transport::automatic, "tensors cannot travel by NCCL: {}", why_not);
  if (!why_not.empty()) {
    log::info("tensors travel through host memory, by MPI, and not by NCCL: {}", why_not);
    return world;
  }
  log::info("tensors travel from GPU to GPU by {}", nccl_version());
  MPI_Comm comm;
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &comm), "MPI_Comm_dup");
  return std::make_unique<NcclCommunicator>(comm, world->name(), device);
}

}  // namespace skymm
