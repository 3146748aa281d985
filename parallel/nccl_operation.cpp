#include "parallel/nccl_operation.hpp"

#include <algorithm>
#include <thread>
#include <utility>

#include "core/error.hpp"

namespace skymm {
namespace {

using Channel = std::shared_ptr<const MpiChannel>;
using Lane = std::shared_ptr<NcclLane>;
using Part = NcclChannel::Part;

constexpr std::int64_t small_elements = 2048;  // below, all_reduce is one exchange, not two; as by MPI

Tensor flat(const Tensor& x) { return x.view({x.numel()}); }

std::int64_t bytes_of(const Tensor& x) { return static_cast<std::int64_t>(x.bytes()); }

// Made on the stream of who calls, not on the lane's.
Tensor scratch(std::int64_t elements, DType dtype, Device& device) {
  const PurposeScope purpose(Purpose::communication);
  return Tensor::empty({elements}, dtype, device);
}

class NcclOperation : public MpiOperation {
 public:
  NcclOperation(Channel channel, const Call& call, std::vector<Tensor> kept, Lane lane)
      : MpiOperation(std::move(channel), call, kept), device_(kept.front().device()), lane_(std::move(lane)) {}

 protected:
  // Enqueues what `work` does, after what was on the current stream when this operation began.
  template <class Work>
  void launch(const Work& work) {
    lane_->stream->wait(made_);
    const StreamScope scope(*lane_->stream);
    work(*lane_->channel, *lane_->stream);
    end_ = lane_->channel->mark(*lane_->stream);
  }
  bool has_run() { return end_->passed(); }
  NcclLane& lane() { return *lane_; }

 private:
  virtual void start() = 0;
  void begin() final {
    made_ = current_stream(device_).record();
    start();
  }

  Device& device_;
  Lane lane_;
  Event made_;
  std::unique_ptr<NcclChannel::Mark> end_;  // before the lane, which it does not outlive
};

// ---- messages ------------------------------------------------------------------------------------------------------

class NcclMessage final : public NcclOperation {
 public:
  NcclMessage(Channel channel, const Call& call, const Tensor& x, Lane lane)
      : NcclOperation(std::move(channel), call, {x}, std::move(lane)), x_(x), header_(scratch(2, DType::i64, cpu())) {
    keep(header_);
  }

 private:
  bool sends() const { return call().kind == CallKind::send; }

  void start() override {
    auto* header = header_.data<std::int64_t>();
    if (sends()) {
      header[0] = lane().messages;
      header[1] = bytes_of(x_);
      enqueue();
      send(headers_, header, bytes_of(header_), call().peer, header_lane);
    } else {
      receive(headers_, header, bytes_of(header_), call().peer, header_lane);
    }
  }

  bool advance() override {
    if (!arrived(headers_)) return false;
    if (!enqueued_) {
      const auto* header = header_.data<std::int64_t>();
      check(header[1] == bytes_of(x_), "{}: rank {} sent {} bytes where {} are expected", call().str(), call().peer,
            header[1], bytes_of(x_));
      if (header[0] != lane().messages) return false;  // those that were sent before come first
      enqueue();
    }
    wait_for(call().peer);
    return has_run();
  }

  void enqueue() {
    launch([this](NcclChannel& nccl, Stream& stream) {
      const std::vector<Part> part{{x_.raw(), bytes_of(x_), sends() ? 1 : 0}};
      nccl.exchange(sends() ? part : std::vector<Part>(), sends() ? std::vector<Part>() : part, stream);
    });
    book(sends() ? bytes_of(x_) : 0, sends() ? 0 : bytes_of(x_));
    ++lane().messages;
    enqueued_ = true;
  }

  Tensor x_, header_;  // header: which message of the lane it is, and its bytes
  Round headers_;
  bool enqueued_ = false;
};

// ---- collectives ---------------------------------------------------------------------------------------------------

class NcclCollective final : public NcclOperation {
 public:
  NcclCollective(Channel channel, const Call& call, const Tensor& from, const Tensor& to, Lane lane)
      : NcclOperation(std::move(channel), call, {from, to}, std::move(lane)),
        from_(flat(from)),
        to_(flat(to)),
        size_(this->channel().size),
        rank_(this->channel().rank) {
    make_scratch();
  }

 private:
  void start() override {
    launch([this](NcclChannel& nccl, Stream& stream) { enqueue(nccl, stream); });
  }
  bool advance() override { return has_run(); }

  bool sums() const { return call().kind == CallKind::all_reduce || call().kind == CallKind::reduce_scatter; }
  bool is_small() const {
    return call().kind == CallKind::all_reduce && to_.numel() < std::max<std::int64_t>(small_elements, size_);
  }
  // Of `whole`, what belongs to rank r: parts differ by an element.
  Tensor part(const Tensor& whole, int r) const {
    return whole.slice(0, whole.numel() * r / size_, whole.numel() * (r + 1) / size_);
  }

  void make_scratch();
  void enqueue(NcclChannel& nccl, Stream& stream);
  void exchange(NcclChannel& nccl, Stream& stream, const std::vector<Tensor>& sent,
                const std::vector<Tensor>& received);
  void sum(const std::vector<Tensor>& parts, const Tensor& to);
  void all_reduce(NcclChannel& nccl, Stream& stream);
  std::vector<Tensor> collect(NcclChannel& nccl, Stream& stream);

  Tensor from_, to_;
  int size_, rank_;
  Tensor parts_;  // of a sum: what each rank gives to it, [size, elements]
  Tensor wide_;   // of a sum of bf16: it, in f32
};

void NcclCollective::make_scratch() {
  if (!sums()) return;
  const std::int64_t elements = is_small() ? to_.numel() : part(from_, rank_).numel();
  parts_ = scratch(size_ * elements, to_.dtype(), to_.device());
  keep(parts_);
  if (to_.dtype() != DType::bf16) return;
  wide_ = scratch(elements, DType::f32, to_.device());
  keep(wide_);
}

void NcclCollective::enqueue(NcclChannel& nccl, Stream& stream) {
  const std::int64_t others = size_ - 1;
  switch (call().kind) {
    case CallKind::broadcast: {
      const bool is_root = call().peer == rank_;
      nccl.broadcast(to_.raw(), bytes_of(to_), call().peer, stream);
      return book(is_root ? bytes_of(to_) * others : 0, is_root ? 0 : bytes_of(to_));
    }
    case CallKind::all_gather:
      nccl.all_gather(from_.raw(), to_.raw(), bytes_of(from_), stream);
      return book(bytes_of(from_) * others, bytes_of(from_) * others);
    case CallKind::all_to_all: {
      std::vector<Tensor> sent, received;
      for (int r = 0; r < size_; ++r) {
        sent.push_back(part(from_, r));
        received.push_back(part(to_, r));
      }
      received[rank_].copy_from(sent[rank_]);
      return exchange(nccl, stream, sent, received);
    }
    case CallKind::reduce_scatter:
      return sum(collect(nccl, stream), to_);
    default:
      return all_reduce(nccl, stream);
  }
}

// sent[r] goes to rank r, received[r] comes from there; this rank's own stay where they are.
void NcclCollective::exchange(NcclChannel& nccl, Stream& stream, const std::vector<Tensor>& sent,
                              const std::vector<Tensor>& received) {
  std::vector<Part> out, in;
  for (int r = 0; r < size_; ++r) {
    if (r == rank_) continue;
    if (sent[r].numel() > 0) out.push_back({sent[r].raw(), bytes_of(sent[r]), r});
    if (received[r].numel() > 0) in.push_back({received[r].raw(), bytes_of(received[r]), r});
    book(bytes_of(sent[r]), bytes_of(received[r]));
  }
  nccl.exchange(out, in, stream);
}

// What each rank gives to this rank's part of the sum.
std::vector<Tensor> NcclCollective::collect(NcclChannel& nccl, Stream& stream) {
  std::vector<Tensor> sent, received;
  for (int r = 0; r < size_; ++r) {
    sent.push_back(part(from_, r));
    received.push_back(part(parts_, r));
  }
  received[rank_].copy_from(sent[rank_]);
  exchange(nccl, stream, sent, received);
  return received;
}

// In the order of ranks, as sum_in_order() adds: f32 and bf16 in f32, rounded once. The first part is overwritten.
void NcclCollective::sum(const std::vector<Tensor>& parts, const Tensor& to) {
  if (to.numel() == 0) return;
  if (wide_.defined()) wide_.copy_from(parts.front());
  const Tensor& all = wide_.defined() ? wide_ : parts.front();
  for (std::size_t r = 1; r < parts.size(); ++r) all.add(parts[r]);
  to.copy_from(all);
}

void NcclCollective::all_reduce(NcclChannel& nccl, Stream& stream) {
  std::vector<Tensor> parts;
  if (is_small()) {
    nccl.all_gather(to_.raw(), parts_.raw(), bytes_of(to_), stream);
    book(bytes_of(to_) * (size_ - 1), bytes_of(to_) * (size_ - 1));
    for (int r = 0; r < size_; ++r) parts.push_back(part(parts_, r));
    return sum(parts, to_);
  }
  sum(collect(nccl, stream), part(to_, rank_));
  std::vector<Tensor> own;
  for (int r = 0; r < size_; ++r) {
    own.push_back(part(to_, rank_));
    parts.push_back(part(to_, r));
  }
  exchange(nccl, stream, own, parts);
}

// ---- lanes ---------------------------------------------------------------------------------------------------------

// Makes each call of a lane once. NCCL connects two ranks at their first call, in which the one that comes first waits
// on the host for the other: later, that other may be waiting for what the first does next.
void connect_ranks(NcclLane& lane, MPI_Comm ranks, Device& device, Communicator::Traffic traffic) {
  int rank = 0, size = 1;
  check_mpi(MPI_Comm_rank(ranks, &rank), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(ranks, &size), "MPI_Comm_size");
  const bool collectives = traffic == Communicator::Traffic::collectives;
  const Tensor bytes = Tensor::zeros({2 * size}, DType::u8, device);  // one to each rank, then one from each
  auto* const to = static_cast<char*>(bytes.raw());
  auto* const from = to + size;
  std::vector<Part> sent, received;
  for (int r = 0; r < size; ++r) {
    if (r == rank) continue;
    if (collectives || rank == 0) sent.push_back({to + r, 1, r});
    if (collectives || rank == 1) received.push_back({from + r, 1, r});
  }
  lane.stream->wait(current_stream(device).record());
  lane.channel->exchange(sent, received, *lane.stream);
  if (collectives) {
    lane.channel->all_gather(from + rank, from, 1, *lane.stream);
    lane.channel->broadcast(to, 1, 0, *lane.stream);
  }
  const auto end = lane.channel->mark(*lane.stream);
  while (!end->passed()) std::this_thread::yield();
}

}  // namespace

NcclLane::NcclLane(MPI_Comm ranks, Device& device, Communicator::Traffic traffic)
    : stream(device.make_stream()), channel(open_nccl_channel(ranks, device, traffic)) {
  connect_ranks(*this, ranks, device, traffic);
}

std::unique_ptr<MpiOperation> make_nccl_operation(Channel channel, const Call& call, const Tensor& from,
                                                  const Tensor& to, Lane lane) {
  if (!call.collective()) return std::make_unique<NcclMessage>(std::move(channel), call, to, std::move(lane));
  return std::make_unique<NcclCollective>(std::move(channel), call, from, to, std::move(lane));
}

}  // namespace skymm
