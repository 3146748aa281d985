// What NCCL does here: it moves bytes between the GPUs of some ranks, in the order of a stream. A build has NCCL itself
// (channel.cpp), an emulation over MPI for the emulated device (tests/cuda_emulation/nccl), or neither (absent.cpp).
#pragma once

#include <mpi.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/communicator.hpp"
#include "core/device.hpp"

namespace skymm {

// Calls enqueue their work on the stream and return. All ranks of a channel make the same calls in the same order: a
// call that the others do not make holds up the stream for ever. But the first exchange with a peer connects the two,
// and returns only when the peer has come to it too. Throws Error with NCCL's own words.
class NcclChannel {
 public:
  struct Part {
    void* data;
    std::int64_t bytes;
    int peer;  // rank in the channel
  };

  // A point in a stream.
  class Mark {
   public:
    virtual ~Mark() = default;
    // Whether what was enqueued before has run; does not wait. Ends the job, as the watchdog does, where NCCL found
    // meanwhile that something went wrong: a rank is gone, a link is down. Throws Error where the device failed.
    virtual bool passed() = 0;
  };

  virtual ~NcclChannel() = default;

  // All parts at once: each is received by its peer in the same call.
  virtual void exchange(const std::vector<Part>& sent, const std::vector<Part>& received, Stream& stream) = 0;
  // `bytes` of each rank -> [size * bytes], in rank order; `from` may lie in `to` where it belongs.
  virtual void all_gather(const void* from, void* to, std::int64_t bytes, Stream& stream) = 0;
  virtual void broadcast(void* data, std::int64_t bytes, int root, Stream& stream) = 0;

  virtual std::unique_ptr<Mark> mark(Stream& stream) = 0;  // of now; not to outlive the channel
};

// Whether this build can move tensors of `device` so.
bool has_nccl(const Device& device);
std::string nccl_version();

// The GPU behind `device`: ranks of one host that say the same share it, which NCCL does not allow.
std::string gpu_of(const Device& device);

// Over the ranks of `ranks`, which stays the caller's. Collective; `device` is the current one of this thread.
std::unique_ptr<NcclChannel> open_nccl_channel(MPI_Comm ranks, Device& device, Communicator::Traffic traffic);

// Ends what is under way on all channels of this process, from any thread: the job is about to end. Who uses them
// afterwards waits for that, or gets an Error.
void abort_nccl_channels();

}  // namespace skymm
