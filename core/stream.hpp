// A queue of work of one device. Work on one stream runs in order; another stream waits for it by an Event.
// Code must never assume that enqueued work has run: on the CPU it may run at once, on a GPU it does not.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>

namespace skymm {

class Device;
class Stream;

// A point in a stream: all that was enqueued before it.
struct Event {
  Stream* stream = nullptr;
  std::uint64_t position = 0;
};

class Stream {
 public:
  explicit Stream(Device& device) : device_(device) {}
  virtual ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  Device& device() const { return device_; }

  // Host code in the stream's order. It must own (capture by value) every tensor that it touches.
  virtual void enqueue(std::function<void()> work) = 0;
  virtual Event record() = 0;
  virtual void wait(const Event& event) = 0;                // later work here runs after the event
  virtual void synchronize() = 0;                           // blocks until all work has run
  virtual void synchronize_to(std::uint64_t position) = 0;  // blocks until the work before `position` has run
  virtual void* native_handle() { return nullptr; }         // the queue of the device's own programming interface

 private:
  Device& device_;
};

// CPU: runs work as it is enqueued.
class ImmediateStream final : public Stream {
 public:
  using Stream::Stream;
  void enqueue(std::function<void()> work) override { work(); }
  Event record() override { return {this, 0}; }
  void wait(const Event& event) override { event.stream->synchronize_to(event.position); }
  void synchronize() override {}
  void synchronize_to(std::uint64_t) override {}
};

// CPU: keeps work until somebody waits for it, so that tests find code that reads results too early.
class DeferredStream final : public Stream {
 public:
  using Stream::Stream;
  ~DeferredStream() override { synchronize(); }
  void enqueue(std::function<void()> work) override;
  Event record() override { return {this, enqueued_}; }
  void wait(const Event& event) override;
  void synchronize() override { synchronize_to(enqueued_); }
  void synchronize_to(std::uint64_t position) override;

 private:
  std::deque<std::function<void()>> queue_;
  std::uint64_t enqueued_ = 0;
  std::uint64_t done_ = 0;
};

// CPU: forgets its work. What runs on it checks shapes and takes memory, and computes nothing: to lay out weights whose
// values come from elsewhere.
class ForgetfulStream final : public Stream {
 public:
  using Stream::Stream;
  void enqueue(std::function<void()>) override {}
  Event record() override { return {this, 0}; }
  void wait(const Event&) override {}
  void synchronize() override {}
  void synchronize_to(std::uint64_t) override {}
};

// The stream that operations on `device` by this thread use: the innermost scope's, else the device's default.
Stream& current_stream(Device& device);

class StreamScope {
 public:
  explicit StreamScope(Stream& stream);
  ~StreamScope();
  StreamScope(const StreamScope&) = delete;
  StreamScope& operator=(const StreamScope&) = delete;

 private:
  Stream* previous_;
};

}  // namespace skymm
