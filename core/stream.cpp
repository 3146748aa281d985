#include "core/stream.hpp"

#include <utility>

#include "core/device.hpp"

namespace skymm {
namespace {
thread_local Stream* stream_in_scope = nullptr;
}

// Of a device that outlives its streams; those that are parts of it end with it.
Stream::~Stream() { device_.forget(*this); }

void DeferredStream::enqueue(std::function<void()> work) {
  queue_.push_back(std::move(work));
  ++enqueued_;
}

void DeferredStream::wait(const Event& event) {
  if (event.stream == this) return;  // one stream is in order by itself
  enqueue([event] { event.stream->synchronize_to(event.position); });
}

void DeferredStream::synchronize_to(std::uint64_t position) {
  while (done_ < position && !queue_.empty()) {
    const std::function<void()> work = std::move(queue_.front());
    queue_.pop_front();
    ++done_;
    work();
  }
}

Stream& current_stream(Device& device) {
  if (stream_in_scope != nullptr && &stream_in_scope->device() == &device) return *stream_in_scope;
  return device.default_stream();
}

StreamScope::StreamScope(Stream& stream) : previous_(stream_in_scope) { stream_in_scope = &stream; }
StreamScope::~StreamScope() { stream_in_scope = previous_; }

}  // namespace skymm
