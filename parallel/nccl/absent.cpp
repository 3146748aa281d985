// In builds for GPUs without NCCL.
#include "core/error.hpp"
#include "parallel/nccl/channel.hpp"

namespace skymm {

bool has_nccl(const Device&) { return false; }
std::string nccl_version() { return "none"; }
std::string gpu_of(const Device& device) { return device.name(); }
std::unique_ptr<NcclChannel> open_nccl_channel(MPI_Comm, Device&, Communicator::Traffic) {
  fail("this build has no NCCL");
}
void abort_nccl_channels() {}

}  // namespace skymm
