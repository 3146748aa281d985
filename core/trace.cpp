#include "core/trace.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <limits>
#include <mutex>
#include <vector>

#include "core/error.hpp"

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
std::vector<Span> spans;

std::int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string microseconds(std::int64_t nanoseconds) {
  return fmt::format("{}.{:03}", nanoseconds / 1000, nanoseconds % 1000);
}

int thread_number() {
  thread_local const int number = threads++;
  return number;
}

}  // namespace

void enable_trace() { enabled = true; }
bool trace_enabled() { return enabled; }

TraceSpan::TraceSpan(const char* name, const char* category) : name_(name), category_(category) {
  if (enabled) begin_ = now();
}

TraceSpan::~TraceSpan() {
  if (begin_ < 0) return;
  // The system clock may be set back meanwhile.
  const Span span{name_, category_, thread_number(), begin_, std::max(begin_, now())};
  const std::lock_guard lock(mutex);
  spans.push_back(span);
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
  for (const Span& span : spans) {
    text += fmt::format(R"({}{{"name":"{}","cat":"{}","ph":"X","ts":{},"dur":{},"pid":{},"tid":{}}})",
                        text.empty() ? "" : ",\n", span.name, span.category, microseconds(span.begin - start),
                        microseconds(span.end - span.begin), process_rank(), span.thread);
  }
  return text;
}

}  // namespace skymm
