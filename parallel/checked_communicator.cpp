#include "parallel/checked_communicator.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "parallel/status_board.hpp"

namespace skymm {
namespace {

// What every call demands of a buffer.
void check_buffer(const Tensor& x, CallKind kind, const char* tensor) {
  check(x.defined(), "{}: tensor {} is undefined", name_of(kind), tensor);
  check(x.is_contiguous(), "{}: tensor {} {} is not contiguous; pass x.contiguous()", name_of(kind), tensor, x.shape());
}

void check_one_device(const Tensor& x, const Tensor& y, CallKind kind) {
  check(&x.device() == &y.device(), "{}: a tensor is on {}, the other on {}; move them to one device", name_of(kind),
        x.device().name(), y.device().name());
}

void check_summable(const Tensor& x, CallKind kind) {
  const DType t = x.dtype();
  check(t == DType::f32 || t == DType::bf16 || t == DType::f64 || t == DType::i64,
        "{}: cannot sum {}; it takes f32, bf16, f64 and i64", name_of(kind), name_of(t));
}

// whole holds one part for each rank.
void check_parts(const Tensor& whole, const Tensor& part, int size, CallKind kind) {
  check_one_device(whole, part, kind);
  check(whole.dtype() == part.dtype(), "{}: the whole is {} but the shard is {}", name_of(kind), name_of(whole.dtype()),
        name_of(part.dtype()));
  check(whole.numel() == part.numel() * size,
        "{}: the whole has {} elements and the shard {}; for {} ranks it must have {}", name_of(kind), whole.numel(),
        part.numel(), size, part.numel() * size);
}

// A part may lie in the whole where it belongs, and nowhere else.
void check_overlap(const Tensor& whole, const Tensor& part, int rank, CallKind kind) {
  const bool own_part = part.raw() == static_cast<char*>(whole.raw()) + rank * part.bytes();
  const auto *from = static_cast<char*>(whole.raw()), *at = static_cast<char*>(part.raw());
  const bool apart = at + part.bytes() <= from || from + whole.bytes() <= at;
  check(own_part || apart || part.numel() == 0, "{}: the shard views the whole, but not at this rank's part",
        name_of(kind));
}

}  // namespace

Call CheckedCommunicator::note(const Call& call) {
  const Call numbered = ledger_->begin(call);
  publish_begin(numbered, *ledger_);
  return numbered;
}

Handle CheckedCommunicator::message(CallKind kind, const Tensor& x, int peer, int tag) {
  check_buffer(x, kind, "x");
  check(size_ > 1, "{}: there is no rank {}; {} has a single rank", name_of(kind), peer, name());
  check(peer >= 0 && peer < size_, "{}: rank {} is not one of 0..{} of {}", name_of(kind), peer, size_ - 1, name());
  check(tag >= 0, "{}: tag {} is negative", name_of(kind), tag);
  return begin(note({kind, x.dtype(), peer, tag, x.numel()}), x, x);
}

Handle CheckedCommunicator::collective(CallKind kind, const Tensor& from, const Tensor& to, int root) {
  const Tensor& whole = from.defined() && from.numel() > to.numel() ? from : to;
  Call call{kind};
  call.peer = root;
  if (whole.defined()) {
    call.dtype = whole.dtype();
    call.count = whole.numel();
  }
  return begin(note(call), from, to);
}

Handle CheckedCommunicator::isend(const Tensor& x, int to, int tag) { return message(CallKind::send, x, to, tag); }

Handle CheckedCommunicator::irecv(Tensor x, int from, int tag) { return message(CallKind::recv, x, from, tag); }

Handle CheckedCommunicator::ibroadcast(Tensor x, int root) {
  check_buffer(x, CallKind::broadcast, "x");
  check(root >= 0 && root < size_, "broadcast: root {} is not a rank of 0..{}", root, size_ - 1);
  return collective(CallKind::broadcast, x, x, root);
}

Handle CheckedCommunicator::iall_reduce(Tensor x) {
  check_buffer(x, CallKind::all_reduce, "x");
  check_summable(x, CallKind::all_reduce);
  return collective(CallKind::all_reduce, x, x);
}

Handle CheckedCommunicator::ireduce_scatter(const Tensor& x, Tensor shard) {
  check_buffer(x, CallKind::reduce_scatter, "x");
  check_buffer(shard, CallKind::reduce_scatter, "shard");
  check_summable(x, CallKind::reduce_scatter);
  check_parts(x, shard, size_, CallKind::reduce_scatter);
  check_overlap(x, shard, rank_, CallKind::reduce_scatter);
  return collective(CallKind::reduce_scatter, x, shard);
}

Handle CheckedCommunicator::iall_gather(const Tensor& shard, Tensor x) {
  check_buffer(shard, CallKind::all_gather, "shard");
  check_buffer(x, CallKind::all_gather, "x");
  check_parts(x, shard, size_, CallKind::all_gather);
  check_overlap(x, shard, rank_, CallKind::all_gather);
  return collective(CallKind::all_gather, shard, x);
}

Handle CheckedCommunicator::iall_to_all(const Tensor& x, Tensor y) {
  check_buffer(x, CallKind::all_to_all, "x");
  check_buffer(y, CallKind::all_to_all, "y");
  check_one_device(x, y, CallKind::all_to_all);
  check(x.dtype() == y.dtype() && x.numel() == y.numel(), "all_to_all: x is {} {} but y is {} {}", name_of(x.dtype()),
        x.shape(), name_of(y.dtype()), y.shape());
  check(x.numel() % size_ == 0, "all_to_all: {} elements do not divide among {} ranks", x.numel(), size_);
  check(x.numel() == 0 || x.raw() != y.raw(), "all_to_all: x and y are the same memory");
  return collective(CallKind::all_to_all, x, y);
}

void CheckedCommunicator::barrier() { collective(CallKind::barrier, {}, {}).wait(); }

std::unique_ptr<Communicator> CheckedCommunicator::split(int color, int key, const std::string& called) {
  check(color >= 0, "split: color {} is negative", color);
  const Call call = note({CallKind::split});
  return divide(call, color, key, called.empty() ? fmt::format("{} part {}", name(), color) : called);
}

// ---- one rank ------------------------------------------------------------------------------------------------------

Handle SingleCommunicator::begin(const Call& call, const Tensor& from, const Tensor& to) {
  if (from.defined() && from.raw() != to.raw()) to.view({to.numel()}).copy_from(from.view({from.numel()}));
  ledger().complete(call, 0, 0);
  return {};
}

std::unique_ptr<Communicator> SingleCommunicator::divide(const Call& call, int, int, const std::string& called) {
  ledger().complete(call, 0, 0);
  return std::make_unique<SingleCommunicator>(called);
}

}  // namespace skymm
