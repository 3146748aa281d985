#include "core/trace.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <limits>
#include <mutex>
#include <utility>
#include <vector>

#include "core/error.hpp"
#include "core/log.hpp"

namespace skymm {
namespace {

struct Span {
  const char* name;
  const char* category;
  int thread;
  std::int64_t begin, end;  // nanoseconds
};

std::atomic<bool> enabled{false};
std::atomic<int> threads{0};
std::mutex mutex;
std::size_t capacity = 0;
std::vector<Span> spans;  // once full, a ring
std::size_t oldest = 0;   // of a full one

std::int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string microseconds(std::int64_t nanoseconds) {
  return fmt::format("{}.{:03}", nanoseconds / 1000, nanoseconds % 1000);
}

// True where it is the first that an older one makes way for.
bool keep(const Span& span) {
  const std::lock_guard lock(mutex);
  if (spans.size() < capacity) {
    spans.push_back(span);
    return false;
  }
  static bool said = false;
  spans[std::exchange(oldest, (oldest + 1) % capacity)] = span;
  return !std::exchange(said, true);
}

int thread_number() {
  thread_local const int number = threads++;
  return number;
}

}  // namespace

void enable_trace(std::size_t most) {
  check(most > 0, "a trace needs room for a span");
  const std::lock_guard lock(mutex);
  capacity = most;
  spans.clear();
  oldest = 0;
  enabled = true;
}
bool trace_enabled() { return enabled; }

TraceSpan::TraceSpan(const char* name, const char* category) : name_(name), category_(category) {
  if (enabled) begin_ = now();
}

TraceSpan::~TraceSpan() {
  if (begin_ < 0) return;
  // The system clock may be set back meanwhile.
  if (!keep({name_, category_, thread_number(), begin_, std::max(begin_, now())})) return;
  log::info("the trace is full: from here on the newest {} spans of each rank are kept", capacity);
}

std::int64_t trace_start() {
  const std::lock_guard lock(mutex);
  std::int64_t first = std::numeric_limits<std::int64_t>::max();
  for (const Span& span : spans) first = std::min(first, span.begin);
  return first;
}

std::string trace_events(std::int64_t start) {
  const std::lock_guard lock(mutex);
  std::string text;
  for (std::size_t i = 0; i < spans.size(); ++i) {
    const Span& span = spans[(oldest + i) % spans.size()];
    text += fmt::format(R"({}{{"name":"{}","cat":"{}","ph":"X","ts":{},"dur":{},"pid":{},"tid":{}}})",
                        text.empty() ? "" : ",\n", span.name, span.category, microseconds(span.begin - start),
                        microseconds(span.end - span.begin), process_rank(), span.thread);
  }
  return text;
}

}  // namespace skymm
