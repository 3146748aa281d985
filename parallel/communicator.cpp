#include "parallel/communicator.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <utility>
#include <vector>

#include "core/error.hpp"
#include "core/log.hpp"
#include "core/trace.hpp"

namespace skymm {
namespace {

constexpr std::int64_t sum_block_bytes = 1 << 20;  // of each part at a time: bounds the scratch memory, stays in cache
constexpr std::int64_t small_elements = 2048;      // below, one all_gather is faster than two rounds

void check_mpi(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  fail("{}: MPI says: {}; ranks may disagree on what they exchange", call, text.data());
}

// What every call demands of a buffer. Waits for the stream, so that the buffer holds what was computed for it, and
// nobody reads what is about to be overwritten.
void check_buffer(const Tensor& x, const char* call, const char* name) {
  check(x.defined(), "{}: tensor {} is undefined", call, name);
  check(x.device().kind() == DeviceKind::cpu, "{}: tensor {} is on {}; MPI takes tensors on the CPU", call, name,
        x.device().name());
  check(x.is_contiguous(), "{}: tensor {} {} is not contiguous; pass x.contiguous()", call, name, x.shape().str());
  current_stream(x.device()).synchronize();
}

void check_summable(const Tensor& x, const char* call) {
  const DType t = x.dtype();
  check(t == DType::f32 || t == DType::bf16 || t == DType::f64 || t == DType::i64,
        "{}: cannot sum {}; it takes f32, bf16, f64 and i64", call, name_of(t));
}

// whole holds one part for each rank.
void check_parts(const Tensor& whole, const Tensor& part, int size, const char* call) {
  check(whole.dtype() == part.dtype(), "{}: the whole is {} but the shard is {}", call, name_of(whole.dtype()),
        name_of(part.dtype()));
  check(whole.numel() == part.numel() * size,
        "{}: the whole has {} elements and the shard {}; for {} ranks it must have {}", call, whole.numel(),
        part.numel(), size, part.numel() * size);
}

void check_all_to_all(const Tensor& x, const Tensor& y, int size) {
  check(x.dtype() == y.dtype() && x.numel() == y.numel(), "all_to_all: x is {} {} but y is {} {}", name_of(x.dtype()),
        x.shape().str(), name_of(y.dtype()), y.shape().str());
  check(x.numel() % size == 0, "all_to_all: {} elements do not divide among {} ranks", x.numel(), size);
  check(x.numel() == 0 || x.raw() != y.raw(), "all_to_all: x and y are the same memory");
}

void check_root(int root, int size) {
  check(root >= 0 && root < size, "broadcast: root {} is not a rank of 0..{}", root, size - 1);
}

template <class T, class Sum>
void add_in_order(const std::vector<const T*>& parts, T* to, std::int64_t n) {
  constexpr std::int64_t tile = 2048;
#pragma omp parallel for schedule(static) if (n > 16 * tile)
  for (std::int64_t begin = 0; begin < n; begin += tile) {
    const std::int64_t count = std::min(tile, n - begin);
    std::array<Sum, tile> sum;
    for (std::int64_t i = 0; i < count; ++i) sum[i] = static_cast<Sum>(parts[0][begin + i]);
    for (std::size_t r = 1; r < parts.size(); ++r) {
      const T* from = parts[r] + begin;
      for (std::int64_t i = 0; i < count; ++i) sum[i] += static_cast<Sum>(from[i]);
    }
    for (std::int64_t i = 0; i < count; ++i) to[begin + i] = static_cast<T>(sum[i]);
  }
}

// to[i] = parts[0][i] + parts[1][i] + ..., n elements; `to` may be one of the parts.
void sum_in_order(DType dtype, const std::vector<const char*>& parts, char* to, std::int64_t n) {
  const auto sum = [&]<class T, class Sum>(T, Sum) {
    std::vector<const T*> typed;
    for (const char* part : parts) typed.push_back(reinterpret_cast<const T*>(part));
    add_in_order<T, Sum>(typed, reinterpret_cast<T*>(to), n);
  };
  switch (dtype) {
    case DType::f32:
      return sum(0.0F, 0.0F);
    case DType::bf16:
      return sum(BFloat16(), 0.0F);
    case DType::f64:
      return sum(0.0, 0.0);
    default:
      return sum(std::int64_t{}, std::int64_t{});
  }
}

// `count` bytes as one MPI element whose neighbour is `stride` bytes on: parts of a buffer, or a piece of each part,
// whatever their size, with counts that fit an int.
class PieceType {
 public:
  PieceType(std::int64_t count, std::int64_t stride) {
    MPI_Datatype bytes;
    check_mpi(MPI_Type_contiguous(static_cast<int>(count), MPI_BYTE, &bytes), "MPI_Type_contiguous");
    const int code = MPI_Type_create_resized(bytes, 0, stride, &type_);
    MPI_Type_free(&bytes);
    check_mpi(code, "MPI_Type_create_resized");
    check_mpi(MPI_Type_commit(&type_), "MPI_Type_commit");
  }
  ~PieceType() { MPI_Type_free(&type_); }
  PieceType(const PieceType&) = delete;
  PieceType& operator=(const PieceType&) = delete;
  MPI_Datatype get() const { return type_; }

 private:
  MPI_Datatype type_ = MPI_DATATYPE_NULL;
};

// The messages of one isend or irecv. Keeps the tensor alive until they are complete.
class MpiOperation final : public Handle::Operation {
 public:
  MpiOperation(Tensor tensor, const char* call, int peer) : tensor_(std::move(tensor)), call_(call), peer_(peer) {}
  // Abandoned while an error unwinds: MPI may still write to the tensor, so its memory is given up for good.
  ~MpiOperation() override {
    if (done_ < messages_.size()) new Tensor(std::move(tensor_));
  }
  MpiOperation(const MpiOperation&) = delete;
  MpiOperation& operator=(const MpiOperation&) = delete;

  // expected: bytes to receive; -1 for a message that is sent.
  void add(MPI_Request request, std::int64_t expected) { messages_.push_back({request, expected}); }

  // One request at a time: OpenMPI 4.1's MPI_Waitall never returns when a message is longer than its buffer.
  bool test() override {
    for (; done_ < messages_.size(); ++done_) {
      int done = 0;
      MPI_Status status;
      const int code = MPI_Test(&messages_[done_].request, &done, &status);
      if (code == MPI_SUCCESS && done == 0) return false;
      finish(code, status, messages_[done_].expected);
    }
    return true;
  }
  void wait() override {
    for (; done_ < messages_.size(); ++done_) {
      MPI_Status status;
      const int code = MPI_Wait(&messages_[done_].request, &status);
      finish(code, status, messages_[done_].expected);
    }
  }

 private:
  struct Message {
    MPI_Request request;
    std::int64_t expected;
  };

  void finish(int code, const MPI_Status& status, std::int64_t expected) const {
    int error_class = MPI_SUCCESS;
    if (code != MPI_SUCCESS) MPI_Error_class(code, &error_class);
    check(error_class != MPI_ERR_TRUNCATE, "{}: rank {} sent more than the {} bytes of tensor {} {}", call_, peer_,
          expected, name_of(tensor_.dtype()), tensor_.shape().str());
    check_mpi(code, call_);
    if (expected < 0) return;
    int count = 0;
    MPI_Get_count(&status, MPI_BYTE, &count);
    check(count == expected, "{}: rank {} sent {} bytes where tensor {} {} takes {}", call_, peer_, count,
          name_of(tensor_.dtype()), tensor_.shape().str(), expected);
  }

  Tensor tensor_;
  const char* call_;
  int peer_;
  std::vector<Message> messages_;
  std::size_t done_ = 0;  // complete messages, in order
};

bool has(const char* variable) { return std::getenv(variable) != nullptr; }

bool started_by_launcher() {
  return has("OMPI_COMM_WORLD_SIZE") || has("PMIX_RANK") || has("PMI_RANK") || has("MV2_COMM_WORLD_RANK");
}

struct MpiSession {
  MpiSession() {
    int provided = 0;
    check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread");
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    if (provided < MPI_THREAD_MULTIPLE) log::warn("this MPI lacks MPI_THREAD_MULTIPLE; only one thread may call it");
  }
  ~MpiSession() {
    int finalized = 0;
    MPI_Finalized(&finalized);
    if (finalized == 0) MPI_Finalize();
  }
};

}  // namespace

std::unique_ptr<Communicator> world() {
  if (!started_by_launcher()) {
    const char* tasks = std::getenv("SLURM_STEP_NUM_TASKS");
    check(tasks == nullptr || std::atoi(tasks) <= 1,
          "srun started {} tasks without MPI, each would run alone; use srun --mpi=pmix",
          tasks == nullptr ? "" : tasks);
    return std::make_unique<SingleCommunicator>();
  }
  static const MpiSession session;
  MPI_Comm comm;
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &comm), "MPI_Comm_dup");
  auto communicator = std::make_unique<MpiCommunicator>(comm);
  set_process_rank(communicator->rank());
  return communicator;
}

int run_ranks(const std::function<int()>& body) {
  try {
    return body();
  } catch (const Error& error) {
    log::write(LogLevel::error, error.what());
  } catch (const std::exception& error) {
    log::write(LogLevel::error, fmt::format("rank {}: {}", process_rank(), error.what()));
  }
  end_ranks(1);
  return 1;
}

void end_ranks(int code) {
  int initialized = 0, finalized = 0;
  MPI_Initialized(&initialized);
  MPI_Finalized(&finalized);
  if (initialized == 0 || finalized != 0) return;
  std::fflush(nullptr);
  MPI_Abort(MPI_COMM_WORLD, code);
}

namespace {
std::atomic<bool> checks_collectives{false};
}

void set_check_collectives(bool on) { checks_collectives = on; }
bool check_collectives() { return checks_collectives; }

// ---- one rank ------------------------------------------------------------------------------------------------------

Handle SingleCommunicator::isend(const Tensor&, int to, int) {
  fail("send: there is no rank {}; this job has a single rank", to);
}

Handle SingleCommunicator::irecv(Tensor, int from, int) {
  fail("recv: there is no rank {}; this job has a single rank", from);
}

Handle SingleCommunicator::ibroadcast(Tensor x, int root) {
  check_buffer(x, "broadcast", "x");
  check_root(root, 1);
  return {};
}

Handle SingleCommunicator::iall_reduce(Tensor x) {
  check_buffer(x, "all_reduce", "x");
  check_summable(x, "all_reduce");
  return {};
}

Handle SingleCommunicator::ireduce_scatter(const Tensor& x, Tensor shard) {
  check_buffer(x, "reduce_scatter", "x");
  check_buffer(shard, "reduce_scatter", "shard");
  check_summable(x, "reduce_scatter");
  check_parts(x, shard, 1, "reduce_scatter");
  std::memmove(shard.raw(), x.raw(), x.bytes());
  return {};
}

Handle SingleCommunicator::iall_gather(const Tensor& shard, Tensor x) {
  check_buffer(shard, "all_gather", "shard");
  check_buffer(x, "all_gather", "x");
  check_parts(x, shard, 1, "all_gather");
  std::memmove(x.raw(), shard.raw(), x.bytes());
  return {};
}

Handle SingleCommunicator::iall_to_all(const Tensor& x, Tensor y) {
  check_buffer(x, "all_to_all", "x");
  check_buffer(y, "all_to_all", "y");
  check_all_to_all(x, y, 1);
  std::memmove(y.raw(), x.raw(), x.bytes());
  return {};
}

std::unique_ptr<Communicator> SingleCommunicator::split(int color, int, const std::string&) {
  check(color >= 0, "split: color {} is negative", color);
  return std::make_unique<SingleCommunicator>();
}

// ---- MPI -----------------------------------------------------------------------------------------------------------

MpiCommunicator::MpiCommunicator(MPI_Comm comm) : comm_(comm) {
  check_mpi(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  check_mpi(MPI_Comm_rank(comm_, &rank_), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(comm_, &size_), "MPI_Comm_size");
}

MpiCommunicator::~MpiCommunicator() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  // Freeing waits for the other ranks, which may be gone when an error unwinds.
  if (finalized == 0 && std::uncaught_exceptions() == 0) MPI_Comm_free(&comm_);
}

void MpiCommunicator::set_largest_message(std::int64_t bytes) {
  check(bytes > 0 && bytes <= std::int64_t{1} << 30, "largest message: {} bytes is not in 1..2^30", bytes);
  largest_message_ = bytes;
}

Handle MpiCommunicator::isend(const Tensor& x, int to, int tag) {
  check_buffer(x, "send", "x");
  check(to >= 0 && to < size_, "send: rank {} is not one of 0..{}", to, size_ - 1);
  check(tag >= 0, "send: tag {} is negative", tag);
  auto operation = std::make_unique<MpiOperation>(x, "send", to);
  const auto bytes = static_cast<std::int64_t>(x.bytes());
  for (std::int64_t at = 0; at == 0 || at < bytes; at += largest_message_) {
    const auto count = std::min(largest_message_, bytes - at);
    MPI_Request request;
    check_mpi(MPI_Isend(static_cast<char*>(x.raw()) + at, static_cast<int>(count), MPI_BYTE, to, tag, comm_, &request),
              "send");
    operation->add(request, -1);
  }
  return Handle(std::move(operation));
}

Handle MpiCommunicator::irecv(Tensor x, int from, int tag) {
  check_buffer(x, "recv", "x");
  check(from >= 0 && from < size_, "recv: rank {} is not one of 0..{}", from, size_ - 1);
  check(tag >= 0, "recv: tag {} is negative", tag);
  auto operation = std::make_unique<MpiOperation>(x, "recv", from);
  const auto bytes = static_cast<std::int64_t>(x.bytes());
  for (std::int64_t at = 0; at == 0 || at < bytes; at += largest_message_) {
    const auto count = std::min(largest_message_, bytes - at);
    MPI_Request request;
    check_mpi(
        MPI_Irecv(static_cast<char*>(x.raw()) + at, static_cast<int>(count), MPI_BYTE, from, tag, comm_, &request),
        "recv");
    operation->add(request, count);
  }
  return Handle(std::move(operation));
}

Handle MpiCommunicator::ibroadcast(Tensor x, int root) {
  const TraceSpan span("broadcast", "communication");
  check_buffer(x, "broadcast", "x");
  check_root(root, size_);
  const auto bytes = static_cast<std::int64_t>(x.bytes());
  for (std::int64_t at = 0; at < bytes; at += largest_message_) {
    const auto count = std::min(largest_message_, bytes - at);
    check_mpi(MPI_Bcast(static_cast<char*>(x.raw()) + at, static_cast<int>(count), MPI_BYTE, root, comm_), "broadcast");
  }
  return {};
}

void MpiCommunicator::exchange(const void* from, std::int64_t part, std::int64_t begin, std::int64_t count, void* to,
                               std::int64_t to_stride) {
  const PieceType send(count, part), receive(count, to_stride);
  check_mpi(MPI_Alltoall(static_cast<const char*>(from) + begin, 1, send.get(), to, 1, receive.get(), comm_),
            "all_to_all");
}

void MpiCommunicator::gather_parts(void* x, std::int64_t part) {
  for (std::int64_t at = 0; at < part; at += largest_message_) {
    const PieceType piece(std::min(largest_message_, part - at), part);
    check_mpi(MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, static_cast<char*>(x) + at, 1, piece.get(), comm_),
              "all_gather");
  }
}

void MpiCommunicator::sum_parts(const Tensor& x, Tensor shard) {
  const auto element = static_cast<std::int64_t>(size_of(x.dtype()));
  const std::int64_t part = shard.numel() * element;
  const std::int64_t block =
      std::min(part, std::max(element, std::min(sum_block_bytes, largest_message_) / element * element));
  const PurposeScope purpose(Purpose::communication);
  const Tensor scratch = Tensor::empty({size_, block}, DType::u8);
  auto* received = static_cast<char*>(scratch.raw());
  const auto* own = static_cast<const char*>(x.raw()) + rank_ * part;
  std::vector<const char*> parts(static_cast<std::size_t>(size_));
  for (std::int64_t at = 0; at < part; at += block) {
    const std::int64_t count = std::min(block, part - at);
    exchange(x.raw(), part, at, count, received, block);
    for (int r = 0; r < size_; ++r) parts[r] = r == rank_ ? own + at : received + r * block;
    sum_in_order(x.dtype(), parts, static_cast<char*>(shard.raw()) + at, count / element);
  }
}

void MpiCommunicator::sum_small(Tensor x) {
  const auto bytes = static_cast<std::int64_t>(x.bytes());
  const PurposeScope purpose(Purpose::communication);
  const Tensor all = Tensor::empty({size_, bytes}, DType::u8);
  auto* received = static_cast<char*>(all.raw());
  std::memcpy(received + rank_ * bytes, x.raw(), x.bytes());
  gather_parts(received, bytes);
  std::vector<const char*> parts;
  for (int r = 0; r < size_; ++r) parts.push_back(received + r * bytes);
  sum_in_order(x.dtype(), parts, static_cast<char*>(x.raw()), x.numel());
}

Handle MpiCommunicator::iall_reduce(Tensor x) {
  const TraceSpan span("all_reduce", "communication");
  check_buffer(x, "all_reduce", "x");
  check_summable(x, "all_reduce");
  if (x.numel() == 0 || size_ == 1) return {};
  if (x.numel() < std::max<std::int64_t>(small_elements, size_)) {
    sum_small(x);
    return {};
  }
  const Tensor flat = x.view({x.numel()});
  const std::int64_t n = x.numel() / size_, whole = n * size_;
  const Tensor even = flat.slice(0, 0, whole);
  sum_parts(even, even.slice(0, rank_ * n, (rank_ + 1) * n));
  gather_parts(even.raw(), n * static_cast<std::int64_t>(size_of(x.dtype())));
  if (whole < x.numel()) sum_small(flat.slice(0, whole, x.numel()));
  return {};
}

Handle MpiCommunicator::ireduce_scatter(const Tensor& x, Tensor shard) {
  const TraceSpan span("reduce_scatter", "communication");
  check_buffer(x, "reduce_scatter", "x");
  check_buffer(shard, "reduce_scatter", "shard");
  check_summable(x, "reduce_scatter");
  check_parts(x, shard, size_, "reduce_scatter");
  const bool own_part = shard.raw() == static_cast<char*>(x.raw()) + rank_ * shard.bytes();
  check(own_part || shard.numel() == 0 || !shard.shares_storage(x),
        "reduce_scatter: the shard views x, but not at this rank's part");
  if (shard.numel() > 0) sum_parts(x, shard);
  return {};
}

Handle MpiCommunicator::iall_gather(const Tensor& shard, Tensor x) {
  const TraceSpan span("all_gather", "communication");
  check_buffer(shard, "all_gather", "shard");
  check_buffer(x, "all_gather", "x");
  check_parts(x, shard, size_, "all_gather");
  if (shard.numel() == 0) return {};
  auto* own = static_cast<char*>(x.raw()) + rank_ * shard.bytes();
  if (own != shard.raw()) std::memmove(own, shard.raw(), shard.bytes());
  gather_parts(x.raw(), static_cast<std::int64_t>(shard.bytes()));
  return {};
}

Handle MpiCommunicator::iall_to_all(const Tensor& x, Tensor y) {
  const TraceSpan span("all_to_all", "communication");
  check_buffer(x, "all_to_all", "x");
  check_buffer(y, "all_to_all", "y");
  check_all_to_all(x, y, size_);
  const std::int64_t part = static_cast<std::int64_t>(x.bytes()) / size_;
  for (std::int64_t at = 0; at < part; at += largest_message_) {
    exchange(x.raw(), part, at, std::min(largest_message_, part - at), static_cast<char*>(y.raw()) + at, part);
  }
  return {};
}

void MpiCommunicator::barrier() {
  const TraceSpan span("barrier", "communication");
  check_mpi(MPI_Barrier(comm_), "barrier");
}

std::unique_ptr<Communicator> MpiCommunicator::split(int color, int key, const std::string&) {
  check(color >= 0, "split: color {} is negative", color);
  MPI_Comm part;
  check_mpi(MPI_Comm_split(comm_, color, key, &part), "split");
  return std::make_unique<MpiCommunicator>(part);
}

}  // namespace skymm
