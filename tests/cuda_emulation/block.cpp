#include "cuda_emulation/block.hpp"

#include <fmt/format.h>

#include <cstdlib>

#include "core/error.hpp"

namespace skymm::cuda_emulation {
namespace {

constexpr std::size_t shared_alignment = 1024;
constexpr int poison = 0xFF;  // NaN as f32 and as bf16, -1 as an integer
constexpr std::size_t async_copy_bytes = 16;

std::string place(const Location& where) {
  const std::string_view path = where.file_name();
  const std::size_t slash = path.rfind('/');
  return fmt::format("{}:{}", slash == std::string_view::npos ? path : path.substr(slash + 1), where.line());
}

bool same_place(const Location& a, const Location& b) { return a.line() == b.line() && a.column() == b.column(); }

}  // namespace

thread_local constinit ThreadContext* current = nullptr;

Blocks& own_blocks() {
  thread_local Blocks blocks;
  return blocks;
}

// ---- the life of a block -------------------------------------------------------------------------------------------

std::string Block::run(const std::function<void()>& body, dim3 grid, dim3 size, uint3 index, const SharedMemory& shared,
                       std::uint64_t seed) {
  const TsanIgnored what_the_emulation_does;
  count_ = alive_ = size.x * size.y * size.z;
  body_ = &body;
  random_.seed(seed);
  failure_.clear();
  arrived_ = 0;
  votes_ = 0;
  warps_.resize((count_ + 31) / 32);
  for (auto& warp : warps_) warp.clear();
  static_bytes_ = 0;
  shared_memory_ = shared;
  prepare(grid, size, index);
  if (Thread* first = next_ready()) {
    current = first;
    Fiber::switch_from(scheduler_, first->fiber);
  }
  current = nullptr;
  shared_.clear();
  if (failure_.empty() && alive_ > 0) failure_ = describe_deadlock();
  return failure_;
}

void Block::prepare(dim3 grid, dim3 size, uint3 index) {
  while (threads_.size() < count_) threads_.push_back(std::make_unique<Thread>());
  ready_.clear();
  ready_head_ = 0;
  for (unsigned i = 0; i < count_; ++i) {
    Thread& thread = *threads_[i];
    thread.thread = {i % size.x, i / size.x % size.y, i / size.x / size.y};
    thread.block = index;
    thread.block_size = size;
    thread.grid_size = grid;
    thread.lane = i % 32;
    thread.warp = i / 32;
    thread.index = i;
    thread.finished = false;
    thread.waiting = Waiting::nothing;
    thread.copies.clear();
    thread.copy_group = 0;
    thread.fiber.prepare(thread_main);
    ready_.push_back(&thread);
  }
}

void Block::thread_main() {
  Fiber::entered();
  Block& block = running_block();
  Thread& thread = block.running();
  own_blocks().grid_begins.acquire();
  (*block.body_)();
  if (!thread.copies.empty() && block.failure_.empty()) {
    const TsanIgnored allocation;
    block.failure_ = fmt::format("thread {} ends with {} cp.async copies that it never waited for", thread.index,
                                 thread.copies.size());
  }
  own_blocks().grid_ends.release();
  thread.finished = true;
  --block.alive_;
  block.switch_to(block.failure_.empty() ? block.next_ready() : nullptr, thread);
  std::abort();  // nobody switches to a thread that has ended
}

Thread* Block::next_ready() {
  if (ready_head_ == ready_.size()) return nullptr;
  Thread* next = nullptr;
  if (settings().order == Order::reverse) {
    next = ready_.back();
    ready_.pop_back();
  } else {
    if (settings().order == Order::random) {
      std::swap(ready_[ready_head_], ready_[ready_head_ + random_() % (ready_.size() - ready_head_)]);
    }
    next = ready_[ready_head_++];
  }
  if (ready_head_ == ready_.size()) {
    ready_.clear();
    ready_head_ = 0;
  }
  return next;
}

void Block::switch_to(Thread* next, Thread& from) {
  current = next;
  Fiber::switch_from(from.fiber, next != nullptr ? next->fiber : scheduler_, from.finished);
}

void Block::give_way(Thread& thread) {
  Thread* next = next_ready();
  if (next != &thread) switch_to(next, thread);
}

void Block::make_ready(Thread& thread) {
  thread.waiting = Waiting::nothing;
  ready_.push_back(&thread);
}

void Block::fail(const std::string& what, Location where) {
  Thread& thread = running();
  {
    const TsanIgnored allocation;
    failure_ = fmt::format("thread {}: {} [{} in {}]", thread.index, what, place(where), where.function_name());
  }
  switch_to(nullptr, thread);  // its stack is dropped as it is: what kernels keep there needs no destructor
  std::abort();
}

std::string Block::describe_deadlock() const {
  std::string text = fmt::format("{} threads wait for ever", alive_);
  int shown = 0;
  for (unsigned i = 0; i < count_ && shown < 4; ++i) {
    const Thread& thread = *threads_[i];
    if (thread.finished) continue;
    ++shown;
    text += fmt::format("; thread {} in {} [{}]", i,
                        thread.waiting == Waiting::barrier ? "__syncthreads" : "an operation of its warp",
                        place(thread.where));
  }
  return text;
}

// ---- barriers ------------------------------------------------------------------------------------------------------

int Block::barrier(int predicate, Reduction reduction, Location where) {
  Thread& thread = running();
  if (alive_ != count_) fail("__syncthreads after other threads of the block have returned", where);
  if (arrived_ == 0) {
    barrier_where_ = where;
  } else if (!same_place(barrier_where_, where)) {
    fail("divergent __syncthreads: other threads of the block are in the one of " + place(barrier_where_), where);
  }
  const unsigned slot = barriers_ % 2;
  barrier_orders_[slot].release();
  votes_ += predicate != 0 ? 1 : 0;
  thread.waiting = Waiting::barrier;
  thread.where = where;
  if (++arrived_ == count_) {
    results_[slot] = votes_;
    votes_ = 0;
    arrived_ = 0;
    ++barriers_;
    const TsanIgnored allocation;
    for (unsigned i = 0; i < count_; ++i) make_ready(*threads_[i]);
  }
  give_way(thread);
  barrier_orders_[slot].acquire();
  switch (reduction) {
    case Reduction::all:
      return results_[slot] == static_cast<int>(count_) ? 1 : 0;
    case Reduction::any:
      return results_[slot] > 0 ? 1 : 0;
    default:
      return results_[slot];
  }
}

// ---- warps ---------------------------------------------------------------------------------------------------------

Block::WarpMeeting& Block::open_meeting(Thread& thread, unsigned mask, WarpOperation operation, Location where) {
  auto& warp = warps_[thread.warp];
  WarpMeeting* unused = nullptr;
  for (auto& meeting : warp) {
    if (!meeting->complete && meeting->mask == mask) return *meeting;
    if (meeting->complete && meeting->inside == 0) unused = meeting.get();
  }
  const TsanIgnored allocation;
  if (unused == nullptr) unused = warp.emplace_back(std::make_unique<WarpMeeting>()).get();
  if (operation == WarpOperation::sync) unused->order.forget();
  unused->mask = mask;
  unused->arrived = unused->inside = 0;
  unused->operation = operation;
  unused->where = where;
  unused->complete = false;
  return *unused;
}

void Block::make_lanes_ready(Thread& thread, unsigned mask, bool itself) {
  const TsanIgnored allocation;
  for (unsigned lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1U) == 0) continue;
    Thread& other = *threads_[thread.warp * 32 + lane];
    if (&other != &thread || itself) make_ready(other);
  }
}

Rendezvous& Block::meet(unsigned mask, WarpOperation operation, const void* value, std::size_t bytes, Location where) {
  Thread& thread = running();
  const unsigned in_warp = count_ - thread.warp * 32;
  const unsigned lanes = in_warp >= 32 ? ~0U : (1U << in_warp) - 1;
  if ((mask & ~lanes) != 0) fail(fmt::format("the mask {:#x} names lanes that the block does not have", mask), where);
  if ((mask >> thread.lane & 1U) == 0) fail(fmt::format("its lane is not in the mask {:#x} it gives", mask), where);
  WarpMeeting& meeting = open_meeting(thread, mask, operation, where);
  if (meeting.operation != operation || meeting.where.line() != where.line()) {
    fail("divergent warp: other lanes of the mask are in the operation of " + place(meeting.where), where);
  }
  if (operation == WarpOperation::sync) meeting.order.release();  // the others order no memory
  {
    const TsanIgnored exchange;
    std::memcpy(meeting.data[thread.lane], value, bytes);
  }
  meeting.arrived |= 1U << thread.lane;
  ++meeting.inside;
  if (meeting.arrived != mask) {
    thread.waiting = Waiting::warp;
    thread.where = where;
    give_way(thread);
  } else {
    meeting.complete = true;
    const bool shuffled = settings().order == Order::random;
    make_lanes_ready(thread, mask, shuffled);
    if (shuffled) give_way(thread);
  }
  if (operation == WarpOperation::sync) meeting.order.acquire();
  return meeting;
}

// ---- memory --------------------------------------------------------------------------------------------------------

void* Block::poisoned(const void* tag, std::size_t bytes) {
  const TsanIgnored allocation;
  // Of the exact size, so that AddressSanitizer sees the first byte past it.
  void* memory = ::operator new(bytes, std::align_val_t(shared_alignment));
  std::memset(memory, poison, bytes);
  shared_.push_back({tag, {static_cast<unsigned char*>(memory), [](unsigned char* p) {
                             ::operator delete(p, std::align_val_t(shared_alignment));
                           }}});
  return memory;
}

void* Block::shared(const void* tag, std::size_t bytes, Location where) {
  for (SharedPart& part : shared_) {
    if (part.tag == tag) return part.memory.get();
  }
  static_bytes_ += bytes;
  const std::size_t all_bytes = static_bytes_ + shared_memory_.dynamic_bytes;
  if (all_bytes > shared_memory_.most()) {
    fail(fmt::format("{} bytes of shared memory, static and dynamic together, of at most {}{}", all_bytes,
                     shared_memory_.most(), shared_memory_.asks ? "" : " for a launch that asks for no more"),
         where);
  }
  return poisoned(tag, bytes);
}

void* Block::dynamic_shared() {
  for (SharedPart& part : shared_) {
    if (part.tag == this) return part.memory.get();
  }
  return poisoned(this, shared_memory_.dynamic_bytes);
}

void async_copy(void* to, const void* from, bool from_global, Location where) {
  Block& block = running_block();
  const auto aligned = [](const void* p) { return reinterpret_cast<std::uintptr_t>(p) % async_copy_bytes == 0; };
  if (!aligned(to)) block.fail("cp.async to an address that 16 does not divide", where);
  if (from_global && !aligned(from)) block.fail("cp.async from an address that 16 does not divide", where);
  std::memset(to, poison, async_copy_bytes);
  tsan_write(to, async_copy_bytes);  // the copy is done at any time from now until it is waited for
  if (from_global) tsan_read(from, async_copy_bytes);
  Thread& thread = block.running();
  const TsanIgnored allocation;
  thread.copies.push_back({static_cast<unsigned char*>(to),
                           from_global ? static_cast<const unsigned char*>(from) : nullptr, thread.copy_group});
}

void commit_async_copies() { ++running_block().running().copy_group; }

void wait_async_copies(unsigned groups_in_flight) {
  Thread& thread = running_block().running();
  std::erase_if(thread.copies, [&](const AsyncCopy& copy) {
    if (copy.group + groups_in_flight >= thread.copy_group) return false;
    tsan_write(copy.to, async_copy_bytes);
    if (copy.from != nullptr) {
      tsan_read(copy.from, async_copy_bytes);
      std::memcpy(copy.to, copy.from, async_copy_bytes);
    } else {
      std::memset(copy.to, 0, async_copy_bytes);
    }
    return true;
  });
}

}  // namespace skymm::cuda_emulation
