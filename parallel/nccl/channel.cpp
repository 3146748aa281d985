// NCCL itself.
#include "parallel/nccl/channel.hpp"

#include <cuda_runtime.h>
#include <nccl.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <exception>
#include <mutex>
#include <set>
#include <utility>

#include "core/error.hpp"
#include "core/log.hpp"
#include "ops/kernels/cuda/runtime_error.hpp"
#include "parallel/mpi_operation.hpp"
#include "parallel/watchdog.hpp"

namespace skymm {
namespace {

void check_nccl(ncclResult_t code, const char* doing, ncclComm_t comm = nullptr) {
  if (code == ncclSuccess) return;
  fail("NCCL: {} failed: {}: {}", doing, ncclGetErrorString(code), ncclGetLastError(comm));
}

cudaStream_t native(Stream& stream) { return static_cast<cudaStream_t>(stream.native_handle()); }

// Of this process, for the watchdog's thread to abort. Who takes one out ends it, which frees it: so nothing is asked
// of one but while it is here.
class LivingComms {
 public:
  void add(ncclComm_t comm) {
    const std::lock_guard lock(mutex_);
    comms_.insert(comm);
  }
  bool remove(ncclComm_t comm) {
    const std::lock_guard lock(mutex_);
    return comms_.erase(comm) > 0;
  }
  // A call that waits inside NCCL keeps the lock, until an abort ends it.
  std::set<ncclComm_t> remove_all() {
    const std::unique_lock lock(mutex_, std::chrono::seconds(1));
    return std::exchange(comms_, {});
  }
  // f(); false where comm is gone: the job ends.
  template <class F>
  bool with(ncclComm_t comm, const F& f) {
    const std::lock_guard lock(mutex_);
    if (!comms_.contains(comm)) return false;
    f();
    return true;
  }

 private:
  std::timed_mutex mutex_;
  std::set<ncclComm_t> comms_;
};

LivingComms& living_comms() {
  static auto* comms = new LivingComms;  // until the very end: the watchdog's thread may need it
  return *comms;
}

class NvidiaMark final : public NcclChannel::Mark {
 public:
  NvidiaMark(ncclComm_t comm, Stream& stream) : comm_(comm) {
    cuda::check_cuda(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "making an event");
    cuda::check_cuda(cudaEventRecord(event_, native(stream)), "recording an event");
  }
  ~NvidiaMark() override { cudaEventDestroy(event_); }

  bool passed() override {
    bool has_passed = false;
    std::string failure;
    living_comms().with(comm_, [&] {
      failure = find_failure();
      if (!failure.empty()) return;
      const cudaError_t code = cudaEventQuery(event_);
      if (code != cudaErrorNotReady) cuda::check_cuda(code, "what is under way by NCCL");
      has_passed = code == cudaSuccess;
    });
    if (!failure.empty()) end_job(failure);
    return has_passed;
  }

 private:
  std::string find_failure() const {
    ncclResult_t found = ncclSuccess;
    check_nccl(ncclCommGetAsyncError(comm_, &found), "asking for errors", comm_);
    if (found == ncclSuccess || found == ncclInProgress) return {};
    return fmt::format("{}: {}", ncclGetErrorString(found), ncclGetLastError(comm_));
  }
  // With the watchdog's code: what another rank or a link did is mended by another start.
  [[noreturn]] static void end_job(const std::string& failure) {
    log::error("NCCL: what is under way failed: {}; the job ends", failure);
    abort_job(watchdog_exit_code);
  }

  ncclComm_t comm_;
  cudaEvent_t event_ = nullptr;
};

class NvidiaChannel final : public NcclChannel {
 public:
  NvidiaChannel(MPI_Comm ranks, Communicator::Traffic traffic) {
    int rank = 0, size = 1;
    check_mpi(MPI_Comm_rank(ranks, &rank), "MPI_Comm_rank");
    check_mpi(MPI_Comm_size(ranks, &size), "MPI_Comm_size");
    ncclUniqueId id{};
    if (rank == 0) check_nccl(ncclGetUniqueId(&id), "making an id for the ranks to meet by");
    check_mpi(MPI_Bcast(&id, sizeof id, MPI_BYTE, 0, ranks), "MPI_Bcast");
    check_mpi(MPI_Barrier(ranks), "MPI_Barrier");  // who waits in NCCL moves nothing of MPI's any more
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    if (traffic == Communicator::Traffic::messages) config.maxCTAs = blocks_for_messages;
    check_nccl(ncclCommInitRankConfig(&comm_, size, id, rank, &config), "meeting the other ranks");
    living_comms().add(comm_);
  }
  // Destroying waits for what is under way, which may never end when an error unwinds.
  ~NvidiaChannel() override {
    if (living_comms().remove(comm_)) std::uncaught_exceptions() > 0 ? ncclCommAbort(comm_) : ncclCommDestroy(comm_);
  }

  void exchange(const std::vector<Part>& sent, const std::vector<Part>& received, Stream& stream) override {
    call([&] {
      check_nccl(ncclGroupStart(), "beginning a group", comm_);
      for (const Part& part : sent) {
        check_nccl(ncclSend(part.data, count(part.bytes), ncclUint8, part.peer, comm_, native(stream)), "a send",
                   comm_);
      }
      for (const Part& part : received) {
        check_nccl(ncclRecv(part.data, count(part.bytes), ncclUint8, part.peer, comm_, native(stream)), "a receive",
                   comm_);
      }
      check_nccl(ncclGroupEnd(), "an exchange", comm_);
    });
  }

  void all_gather(const void* from, void* to, std::int64_t bytes, Stream& stream) override {
    call([&] {
      check_nccl(ncclAllGather(from, to, count(bytes), ncclUint8, comm_, native(stream)), "all_gather", comm_);
    });
  }

  void broadcast(void* data, std::int64_t bytes, int root, Stream& stream) override {
    call([&] {
      check_nccl(ncclBroadcast(data, data, count(bytes), ncclUint8, root, comm_, native(stream)), "broadcast", comm_);
    });
  }

  std::unique_ptr<Mark> mark(Stream& stream) override { return std::make_unique<NvidiaMark>(comm_, stream); }

 private:
  // The most of a kernel that moves a message: while it waits for the other rank they take multiprocessors from what
  // computes.
  static constexpr int blocks_for_messages = 8;

  // Where the communicator is gone, waits for the end of the job.
  template <class F>
  void call(const F& f) const {
    while (!living_comms().with(comm_, f)) ::pause();
  }
  static std::size_t count(std::int64_t bytes) { return static_cast<std::size_t>(bytes); }

  ncclComm_t comm_ = nullptr;
};

}  // namespace

bool has_nccl(const Device& device) { return device.kind() == DeviceKind::cuda && !device.is_emulated(); }

std::string nccl_version() {
  int version = 0;
  check_nccl(ncclGetVersion(&version), "asking for the version");
  return fmt::format("NCCL {}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

std::string gpu_of(const Device&) {
  int index = 0;
  std::array<char, 32> bus{};
  cuda::check_cuda(cudaGetDevice(&index), "asking which GPU is the current one");
  cuda::check_cuda(cudaDeviceGetPCIBusId(bus.data(), static_cast<int>(bus.size()), index), "asking where a GPU is");
  return bus.data();
}

std::unique_ptr<NcclChannel> open_nccl_channel(MPI_Comm ranks, Device&, Communicator::Traffic traffic) {
  return std::make_unique<NvidiaChannel>(ranks, traffic);
}

void abort_nccl_channels() {
  for (const ncclComm_t comm : living_comms().remove_all()) ncclCommAbort(comm);
}

}  // namespace skymm
