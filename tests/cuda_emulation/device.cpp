// The emulated GPU: memory of the host, and streams whose work waits until somebody waits for it. Then streams take
// turns in an order that is legal but unkind: in the forward order other streams' work runs only where an event asks
// for it, in the reverse order before all else, in a random order as dice say. So a wait that is missing shows. Who
// only asks whether work has run lets one piece of it run.
#include "ops/kernels/cuda/device.hpp"

#include <cstdlib>
#include <cstring>
#include <deque>
#include <iterator>
#include <map>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "core/error.hpp"
#include "cuda_emulation/emulation.hpp"

namespace skymm::cuda {
namespace {

using cuda_emulation::Order;
using cuda_emulation::settings;

class EmulatedStream;

// All streams of the device, in the order in which they were made.
struct Scheduler {
  void advance(EmulatedStream& wanted);  // by a piece of work or less: what it waits for comes first
  bool run_another(const EmulatedStream& wanted);

  std::vector<EmulatedStream*> streams;
  std::mt19937_64 random{settings().seed};
};

class EmulatedStream final : public Stream {
 public:
  EmulatedStream(Device& device, Scheduler& scheduler) : Stream(device), scheduler_(scheduler) {
    scheduler.streams.push_back(this);
  }
  ~EmulatedStream() override {
    try {
      synchronize();
    } catch (const std::exception&) {  // whoever waited for the work was told
    }
    std::erase(scheduler_.streams, this);
    for (EmulatedStream* other : scheduler_.streams) other->stop_waiting_for(*this);
  }

  void enqueue(std::function<void()> work) override { queue_.push_back({std::move(work), {}, {}}); }
  void enqueue_when(std::function<bool()> done) { queue_.push_back({{}, {}, std::move(done)}); }
  Event record() override { return {this, done_ + queue_.size()}; }
  void wait(const Event& event) override {
    if (event.stream != this) queue_.push_back({{}, event, {}});
  }
  void synchronize() override { synchronize_to(done_ + queue_.size()); }
  void synchronize_to(std::uint64_t position) override {
    while (done_ < position) scheduler_.advance(*this);
  }
  void advance() {
    if (!queue_.empty()) scheduler_.advance(*this);
  }

  void stop_waiting_for(const EmulatedStream& ended) {
    for (Work& work : queue_) {
      if (work.after.stream == &ended) work.after = {};
    }
  }
  // The stream that must run first; null where none must.
  EmulatedStream* blocked_by() const {
    const Event& event = queue_.front().after;
    auto* other = static_cast<EmulatedStream*>(event.stream);
    return other == nullptr || other->done_ >= event.position ? nullptr : other;
  }
  bool can_run() const {
    if (queue_.empty() || blocked_by() != nullptr) return false;
    return !queue_.front().done || queue_.front().done();
  }
  void run_one() {
    const Work work = std::move(queue_.front());
    queue_.pop_front();
    ++done_;
    if (work.run) work.run();
  }

 private:
  struct Work {
    std::function<void()> run;  // empty: a wait
    Event after;
    std::function<bool()> done;  // of what others do; empty: there is nothing to wait for
  };

  Scheduler& scheduler_;
  std::deque<Work> queue_;
  std::uint64_t done_ = 0;
};

bool Scheduler::run_another(const EmulatedStream& wanted) {
  std::vector<EmulatedStream*> others;
  for (EmulatedStream* stream : streams) {
    if (stream != &wanted && stream->can_run()) others.push_back(stream);
  }
  if (others.empty()) return false;
  others[random() % others.size()]->run_one();
  return true;
}

void Scheduler::advance(EmulatedStream& wanted) {
  if (settings().order == Order::reverse) {
    while (run_another(wanted)) {
    }
  } else if (settings().order == Order::random) {
    while (random() % 2 == 0 && run_another(wanted)) {
    }
  }
  if (EmulatedStream* first = wanted.blocked_by()) return advance(*first);
  if (wanted.can_run()) return wanted.run_one();
  if (!run_another(wanted)) std::this_thread::yield();  // it is for another process to go on
}

class EmulatedDevice final : public CudaDevice {
 public:
  std::string name() const override { return "emulated CUDA device"; }
  bool is_emulated() const override { return true; }

  void* raw_allocate(std::size_t bytes) override {
    void* pointer = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
    if (pointer != nullptr) std::memset(pointer, 0xFF, bytes);  // NaN: what is read before it is written is seen
    const std::lock_guard lock(mutex_);
    if (pointer != nullptr) reachable_[static_cast<const char*>(pointer)] = bytes;
    return pointer;
  }
  void raw_release(void* pointer, std::size_t) override {
    const std::lock_guard lock(mutex_);
    reachable_.erase(static_cast<const char*>(pointer));
    std::free(pointer);
  }
  std::unique_ptr<Stream> make_stream() override { return std::make_unique<EmulatedStream>(*this, scheduler_); }
  Stream& default_stream() override { return default_stream_; }

 private:
  void copy_bytes(void* to, const void* from, std::size_t bytes, Stream& stream) override {
    for (const void* side : {static_cast<const void*>(to), from}) {
      check(is_reachable(side, bytes), "emulated CUDA device: a copy of {} bytes with host memory that is not pinned",
            bytes);
    }
    stream.enqueue([=] { std::memcpy(to, from, bytes); });
  }
  void* allocate_pinned(std::size_t bytes) override {
    void* pointer = std::malloc(bytes);
    const std::lock_guard lock(mutex_);
    reachable_[static_cast<const char*>(pointer)] = bytes;
    return pointer;
  }
  // Whether all of it is the device's, or pinned.
  bool is_reachable(const void* begin, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    const auto* const first = static_cast<const char*>(begin);
    const auto after = reachable_.upper_bound(first);
    if (after == reachable_.begin()) return false;
    const auto& [block, size] = *std::prev(after);
    return first + bytes <= block + size;
  }

  std::mutex mutex_;
  std::map<const char*, std::size_t> reachable_;  // blocks of memory, and their bytes
  Scheduler scheduler_;
  EmulatedStream default_stream_{*this, scheduler_};
};

}  // namespace

Device& emulated_device() {
  static auto* device = new EmulatedDevice;
  return *device;
}

}  // namespace skymm::cuda

void skymm::cuda_emulation::enqueue_when(Stream& stream, std::function<bool()> done) {
  static_cast<cuda::EmulatedStream&>(stream).enqueue_when(std::move(done));
}

void skymm::cuda_emulation::advance(Stream& stream) { static_cast<cuda::EmulatedStream&>(stream).advance(); }
