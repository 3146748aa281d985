// NCCL for the emulated device, over MPI. What it enqueues begins when the stream comes to it, and a message ends only
// when its receiver has come to it too, in the order of the calls, as on GPUs: who waits too little reads NaN, ranks
// that disagree on the order wait for ever. As NCCL does, it connects ranks late: the first send to a peer, and the
// first receive from it, wait on the host until the peer has called too, and so does the first collective, unless
// NCCL_RUNTIME_CONNECT is 0.
#include "parallel/nccl/channel.hpp"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <set>
#include <string_view>
#include <thread>
#include <utility>

#include "core/error.hpp"
#include "cuda_emulation/emulation.hpp"
#include "parallel/mpi_operation.hpp"

namespace skymm {
namespace {

std::atomic<bool> all_aborted{false};

// One exchange, from the time when it is the stream's turn.
class Exchange {
 public:
  using Part = NcclChannel::Part;

  Exchange(MPI_Comm comm, std::shared_ptr<const bool> aborted, std::vector<Part> sent, std::vector<Part> received)
      : comm_(comm), aborted_(std::move(aborted)), sent_(std::move(sent)), received_(std::move(received)) {}

  bool done() {
    if (*aborted_) return true;
    if (!begun_) begin();
    for (; complete_ < requests_.size(); ++complete_) {
      int arrived = 0;
      MPI_Status status;
      check_mpi(MPI_Test(&requests_[complete_], &arrived, &status), "MPI_Test");
      if (arrived == 0) return false;
      if (complete_ >= received_.size()) continue;
      int count = 0;
      MPI_Get_count(&status, MPI_BYTE, &count);
      check(count == received_[complete_].bytes, "emulated NCCL: rank {} sent {} bytes where {} are expected",
            received_[complete_].peer, count, received_[complete_].bytes);
    }
    return true;
  }

 private:
  void begin() {
    begun_ = true;
    for (const Part& part : received_) {
      std::memset(part.data, 0xFF, static_cast<std::size_t>(part.bytes));
      check_mpi(
          MPI_Irecv(part.data, static_cast<int>(part.bytes), MPI_BYTE, part.peer, 0, comm_, &requests_.emplace_back()),
          "MPI_Irecv");
    }
    for (const Part& part : sent_) {
      check_mpi(
          MPI_Issend(part.data, static_cast<int>(part.bytes), MPI_BYTE, part.peer, 0, comm_, &requests_.emplace_back()),
          "MPI_Issend");
    }
  }

  MPI_Comm comm_;
  std::shared_ptr<const bool> aborted_;
  std::vector<Part> sent_, received_;
  std::vector<MPI_Request> requests_;  // of what is received, then of what is sent
  std::size_t complete_ = 0;
  bool begun_ = false;
};

class EmulatedMark final : public NcclChannel::Mark {
 public:
  explicit EmulatedMark(Stream& stream) : stream_(stream) {
    stream.enqueue([passed = passed_] { *passed = true; });
  }
  bool passed() override {
    check(!all_aborted, "emulated NCCL: the communicator was aborted");
    if (!*passed_) cuda_emulation::advance(stream_);
    return *passed_;
  }

 private:
  Stream& stream_;
  std::shared_ptr<bool> passed_ = std::make_shared<bool>(false);
};

class EmulatedChannel final : public NcclChannel {
 public:
  explicit EmulatedChannel(MPI_Comm ranks) {
    check_mpi(MPI_Comm_dup(ranks, &comm_), "MPI_Comm_dup");
    check_mpi(MPI_Comm_rank(comm_, &rank_), "MPI_Comm_rank");
    check_mpi(MPI_Comm_size(comm_, &size_), "MPI_Comm_size");
  }
  ~EmulatedChannel() override {
    *aborted_ = true;
    int finalized = 0;
    MPI_Finalized(&finalized);
    if (finalized == 0 && std::uncaught_exceptions() == 0) MPI_Comm_free(&comm_);
  }

  void exchange(const std::vector<Part>& sent, const std::vector<Part>& received, Stream& stream) override {
    connect(sent, received);
    enqueue(sent, received, stream);
  }

  void all_gather(const void* from, void* to, std::int64_t bytes, Stream& stream) override {
    connect_all();
    char* own = static_cast<char*>(to) + rank_ * bytes;
    if (own != from) stream.enqueue([=] { std::memcpy(own, from, static_cast<std::size_t>(bytes)); });
    std::vector<Part> sent, received;
    for (int r = 0; r < size_; ++r) {
      if (r == rank_) continue;
      sent.push_back({own, bytes, r});
      received.push_back({static_cast<char*>(to) + r * bytes, bytes, r});
    }
    enqueue(sent, received, stream);
  }

  void broadcast(void* data, std::int64_t bytes, int root, Stream& stream) override {
    connect_all();
    if (rank_ != root) return enqueue({}, {{data, bytes, root}}, stream);
    std::vector<Part> sent;
    for (int r = 0; r < size_; ++r) {
      if (r != root) sent.push_back({data, bytes, r});
    }
    enqueue(sent, {}, stream);
  }

  std::unique_ptr<Mark> mark(Stream& stream) override { return std::make_unique<EmulatedMark>(stream); }

 private:
  static constexpr int meeting_tag = 1;

  void enqueue(const std::vector<Part>& sent, const std::vector<Part>& received, Stream& stream) {
    const auto exchange = std::make_shared<Exchange>(comm_, aborted_, sent, received);
    cuda_emulation::enqueue_when(stream, [exchange] { return exchange->done(); });
  }

  void connect(const std::vector<Part>& sent, const std::vector<Part>& received) {
    std::vector<MPI_Request> meetings;
    for (const Part& part : received) {
      if (!receives_from_.insert(part.peer).second) continue;
      check_mpi(MPI_Irecv(nullptr, 0, MPI_BYTE, part.peer, meeting_tag, comm_, &meetings.emplace_back()), "MPI_Irecv");
    }
    for (const Part& part : sent) {
      if (!sends_to_.insert(part.peer).second) continue;
      check_mpi(MPI_Issend(nullptr, 0, MPI_BYTE, part.peer, meeting_tag, comm_, &meetings.emplace_back()),
                "MPI_Issend");
    }
    check_mpi(MPI_Waitall(static_cast<int>(meetings.size()), meetings.data(), MPI_STATUSES_IGNORE), "MPI_Waitall");
  }

  void connect_all() {
    if (std::exchange(all_connected_, true)) return;
    const char* late = std::getenv("NCCL_RUNTIME_CONNECT");
    if (late == nullptr || std::string_view(late) != "0") check_mpi(MPI_Barrier(comm_), "MPI_Barrier");
  }

  MPI_Comm comm_ = MPI_COMM_NULL;
  std::set<int> sends_to_, receives_from_;
  bool all_connected_ = false;
  std::shared_ptr<bool> aborted_ = std::make_shared<bool>(false);
  int rank_ = 0, size_ = 1;
};

}  // namespace

bool has_nccl(const Device& device) { return device.is_emulated(); }
std::string nccl_version() { return "emulated NCCL"; }
std::string gpu_of(const Device&) { return fmt::format("emulated, of process {}", getpid()); }
std::unique_ptr<NcclChannel> open_nccl_channel(MPI_Comm ranks, Device&, Communicator::Traffic) {
  return std::make_unique<EmulatedChannel>(ranks);
}
// It takes its time, as NCCL's does, and what is under way fails meanwhile.
void abort_nccl_channels() {
  if (all_aborted.exchange(true)) return;
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
}

}  // namespace skymm
