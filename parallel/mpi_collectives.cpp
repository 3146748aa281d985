// How each call is made of messages.
#include <algorithm>
#include <array>
#include <cstring>
#include <type_traits>
#include <utility>

#include "core/memory.hpp"
#include "parallel/mpi_operation.hpp"
#include "parallel/ordered_sum.hpp"

namespace skymm {
namespace {

using Channel = std::shared_ptr<const MpiChannel>;

constexpr std::int64_t small_elements = 2048;     // below, all_reduce of one round is faster than of two
constexpr std::int64_t largest_block = 1 << 20;   // bytes that a sum or a broadcast moves at a time: stays in cache
constexpr std::int64_t smallest_block = 1 << 16;  // of a sum, however many ranks there are
constexpr std::int64_t scratch_bytes = 16 << 20;  // of a sum, about

char* bytes_of(const Tensor& x) { return static_cast<char*>(x.raw()); }

Tensor scratch(std::int64_t bytes) {
  const PurposeScope purpose(Purpose::communication);
  return Tensor::empty({bytes}, DType::u8);
}

// ---- one round: send, recv, all_gather, all_to_all, barrier
// ----------------------------------------------------------

class OneRound : public MpiOperation {
 public:
  using MpiOperation::MpiOperation;

 protected:
  Round round_;

 private:
  bool advance() override { return arrived(round_); }
};

class PointToPoint final : public OneRound {
 public:
  PointToPoint(Channel channel, const Call& call, const Tensor& x)
      : OneRound(std::move(channel), call, {x}), data_(x.raw()), bytes_(static_cast<std::int64_t>(x.bytes())) {}

 private:
  void begin() override {
    if (call().kind == CallKind::send) {
      send(round_, data_, bytes_, call().peer);
    } else {
      receive(round_, data_, bytes_, call().peer);
    }
  }

  void* data_;
  std::int64_t bytes_;
};

// Every rank sends `part` bytes to every other: the same to all (from_stride 0), or part r to rank r. What rank r sent
// arrives at to + r * part.
class Exchange final : public OneRound {
 public:
  Exchange(Channel channel, const Call& call, std::vector<Tensor> kept, const char* from, std::int64_t from_stride,
           char* to, std::int64_t part, int lane = 0)
      : OneRound(std::move(channel), call, std::move(kept)),
        from_(from),
        from_stride_(from_stride),
        to_(to),
        part_(part),
        lane_(lane) {}

 private:
  void begin() override {
    if (part_ == 0 && to_ != nullptr) return;  // a barrier has messages without bytes
    const int rank = channel().rank;
    for (int d = 1; d < channel().size; ++d) receive(round_, to_ + peer_at(d) * part_, part_, peer_at(d), lane_);
    for (int d = 1; d < channel().size; ++d) send(round_, from_ + peer_at(d) * from_stride_, part_, peer_at(d), lane_);
    const char* own = from_ + rank * from_stride_;
    if (part_ > 0 && own != to_ + rank * part_) std::memcpy(to_ + rank * part_, own, static_cast<std::size_t>(part_));
  }

  const char* from_;
  std::int64_t from_stride_;
  char* to_;
  std::int64_t part_;
  int lane_;
};

// ---- broadcast -----------------------------------------------------------------------------------------------------

// Along a binomial tree, a block at a time: a rank hands a block on while the next arrives.
class Broadcast final : public MpiOperation {
 public:
  Broadcast(Channel channel, const Call& call, const Tensor& x)
      : MpiOperation(std::move(channel), call, {x}),
        data_(bytes_of(x)),
        bytes_(static_cast<std::int64_t>(x.bytes())),
        block_(std::min(largest_block, this->channel().largest_message)) {}

 private:
  // Ranks are counted from the root. The parent of place p lacks p's lowest bit; p's children have one lower bit more.
  void begin() override {
    const int size = channel().size, place = (channel().rank - call().peer + size) % size;
    for (int bit = 1; bit < size && (place & (bit - 1)) == 0; bit *= 2) {
      if ((place & bit) != 0) {
        for (std::int64_t at = 0; at < bytes_; at += block_) {
          receive(received_, data_ + at, std::min(block_, bytes_ - at), rank_at(place - bit));
        }
        break;
      }
      if (place + bit < size) children_.insert(children_.begin(), rank_at(place + bit));  // the deepest subtree first
    }
  }

  bool advance() override {
    const bool all = arrived(received_);
    const std::int64_t here = received_.messages.empty() ? bytes_ : static_cast<std::int64_t>(received_.done) * block_;
    for (; handed_on_ < std::min(here, bytes_); handed_on_ += block_) {
      for (const int child : children_) {
        send(sent_, data_ + handed_on_, std::min(block_, bytes_ - handed_on_), child);
      }
    }
    return all && arrived(sent_);
  }

  int rank_at(int place) const { return (place + call().peer) % channel().size; }

  char* data_;
  std::int64_t bytes_, block_;
  std::int64_t handed_on_ = 0;  // bytes
  std::vector<int> children_;
  Round received_, sent_;
};

// ---- sums ----------------------------------------------------------------------------------------------------------

// all_reduce of few elements: everyone gathers everything, and adds it up.
class SmallSum final : public OneRound {
 public:
  SmallSum(Channel channel, const Call& call, const Tensor& x, const Tensor& all)
      : OneRound(std::move(channel), call, {x, all}), x_(x), all_(all) {}

 private:
  // From the scratch, since x is overwritten when all parts are here, whether ours has left or not.
  void begin() override {
    const auto bytes = static_cast<std::int64_t>(x_.bytes());
    char* own = bytes_of(all_) + channel().rank * bytes;
    std::memcpy(own, x_.raw(), x_.bytes());
    for (int d = 1; d < channel().size; ++d) receive(round_, bytes_of(all_) + peer_at(d) * bytes, bytes, peer_at(d));
    for (int d = 1; d < channel().size; ++d) send(round_, own, bytes, peer_at(d));
  }

  bool advance() override {
    if (!arrived(round_)) return false;
    std::vector<const char*> parts;
    for (int r = 0; r < channel().size; ++r)
      parts.push_back(bytes_of(all_) + r * static_cast<std::int64_t>(x_.bytes()));
    sum_in_order(x_.dtype(), parts, bytes_of(x_), x_.numel());
    return true;
  }

  Tensor x_, all_;
};

// reduce_scatter, and all_reduce of many elements. Rank r adds up part r: block by block every rank sends it its piece,
// the next block under way while one is added. all_reduce then sends each summed block to all, in lane 1.
class BlockSum final : public MpiOperation {
 public:
  // shard: where this rank's sum goes; in x itself for all_reduce, which gathers the sums there.
  BlockSum(Channel channel, const Call& call, const Tensor& x, const Tensor& shard)
      : MpiOperation(std::move(channel), call, {x, shard}),
        dtype_(x.dtype()),
        element_(static_cast<std::int64_t>(size_of(x.dtype()))),
        elements_(x.numel()),
        x_(bytes_of(x)),
        shard_(bytes_of(shard)) {
    const std::int64_t size = this->channel().size, longest = (elements_ + size - 1) / size * element_;
    const std::int64_t affordable = std::clamp(scratch_bytes / (2 * size), smallest_block, largest_block);
    block_ = std::min({longest, affordable, this->channel().largest_message}) / element_ * element_;
    block_ = std::max(block_, element_);
    blocks_ = (longest + block_ - 1) / block_;
    scratch_ = {scratch(size * block_), scratch(size * block_)};
    keep(scratch_[0]);
    keep(scratch_[1]);
  }

 private:
  void begin() override {
    for (std::int64_t block = 0; block < std::min<std::int64_t>(2, blocks_); ++block) collect(block);
  }

  bool advance() override {
    for (; added_ < blocks_ && arrived(collected_[added_ % 2]); ++added_) {
      add(added_);
      if (call().kind == CallKind::all_reduce) spread(added_);
      collected_[added_ % 2].clear();
      if (added_ + 2 < blocks_) collect(added_ + 2);
    }
    return added_ == blocks_ && arrived(spread_);
  }

  // Byte in x where a block of rank r's part begins, and how long it is there: parts differ by an element.
  std::int64_t part_begin(int r) const { return elements_ * r / channel().size * element_; }
  std::int64_t at(int r, std::int64_t block) const { return part_begin(r) + block * block_; }
  std::int64_t length(int r, std::int64_t block) const {
    return std::clamp<std::int64_t>(part_begin(r + 1) - at(r, block), 0, block_);
  }

  void collect(std::int64_t block) {
    Round& round = collected_[block % 2];
    const int rank = channel().rank;
    char* received = bytes_of(scratch_[block % 2]);
    for (int d = 1; d < channel().size; ++d) {
      const int r = peer_at(d);
      if (length(rank, block) > 0) receive(round, received + r * block_, length(rank, block), r);
      if (length(r, block) > 0) send(round, x_ + at(r, block), length(r, block), r);
    }
  }

  void add(std::int64_t block) {
    const int rank = channel().rank;
    std::vector<const char*> parts;
    for (int r = 0; r < channel().size; ++r) {
      parts.push_back(r == rank ? x_ + at(rank, block) : bytes_of(scratch_[block % 2]) + r * block_);
    }
    sum_in_order(dtype_, parts, shard_ + block * block_, length(rank, block) / element_);
  }

  // The sums of other parts are received over what this rank gave to them, which has left with the block's round.
  void spread(std::int64_t block) {
    const int rank = channel().rank;
    for (int d = 1; d < channel().size; ++d) {
      const int r = peer_at(d);
      if (length(r, block) > 0) receive(spread_, x_ + at(r, block), length(r, block), r, 1);
      if (length(rank, block) > 0) send(spread_, x_ + at(rank, block), length(rank, block), r, 1);
    }
  }

  DType dtype_;
  std::int64_t element_, elements_;
  char *x_, *shard_;
  std::int64_t block_ = 0, blocks_ = 0;  // bytes of a block; blocks of the longest part
  std::int64_t added_ = 0;               // blocks
  std::array<Tensor, 2> scratch_;        // [size, block] each
  std::array<Round, 2> collected_;
  Round spread_;
};

std::unique_ptr<MpiOperation> make_all_reduce(Channel channel, const Call& call, const Tensor& x) {
  const std::int64_t size = channel->size;
  if (size == 1 || x.numel() == 0) return nullptr;
  if (x.numel() < std::max(small_elements, size)) {
    const Tensor all = scratch(size * static_cast<std::int64_t>(x.bytes()));
    return std::make_unique<SmallSum>(std::move(channel), call, x, all);
  }
  const Tensor flat = x.view({x.numel()});
  const Tensor shard = flat.slice(0, x.numel() * channel->rank / size, x.numel() * (channel->rank + 1) / size);
  return std::make_unique<BlockSum>(std::move(channel), call, flat, shard);
}

}  // namespace

std::unique_ptr<MpiOperation> make_operation(std::shared_ptr<const MpiChannel> channel, const Call& call,
                                             const Tensor& from, const Tensor& to) {
  const std::int64_t size = channel->size;
  switch (call.kind) {
    case CallKind::send:
    case CallKind::recv:
      return std::make_unique<PointToPoint>(std::move(channel), call, to);
    case CallKind::broadcast:
      return std::make_unique<Broadcast>(std::move(channel), call, to);
    case CallKind::all_reduce:
      return make_all_reduce(std::move(channel), call, to);
    case CallKind::reduce_scatter:
      return std::make_unique<BlockSum>(std::move(channel), call, from, to);
    case CallKind::all_gather:
      return std::make_unique<Exchange>(std::move(channel), call, std::vector{from, to}, bytes_of(from), 0,
                                        bytes_of(to), static_cast<std::int64_t>(from.bytes()));
    case CallKind::all_to_all: {
      const auto part = static_cast<std::int64_t>(from.bytes()) / size;
      return std::make_unique<Exchange>(std::move(channel), call, std::vector{from, to}, bytes_of(from), part,
                                        bytes_of(to), part);
    }
    default:  // barrier, and the barrier before a split
      return std::make_unique<Exchange>(std::move(channel), call, std::vector<Tensor>(), nullptr, 0, nullptr, 0);
  }
}

std::vector<Call> gather_calls(std::shared_ptr<const MpiChannel> channel, const Call& call) {
  static_assert(std::is_trivially_copyable_v<Call>);
  constexpr auto part = static_cast<std::int64_t>(sizeof(Call));
  std::vector<Call> calls(static_cast<std::size_t>(channel->size));
  const Tensor all = scratch(channel->size * part), own = scratch(part);
  std::memcpy(own.raw(), &call, sizeof(Call));
  Exchange exchange(std::move(channel), call, {own, all}, bytes_of(own), 0, bytes_of(all), part,
                    MpiOperation::agreement_lane);
  exchange.drive();
  exchange.wait();
  std::memcpy(calls.data(), all.raw(), all.bytes());
  return calls;
}

}  // namespace skymm
