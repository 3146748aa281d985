#include "core/trace.hpp"

#include <atomic>
#include <chrono>
#include <mutex>
#include <vector>

#include "core/error.hpp"

namespace skymm {
namespace {

struct Span {
  const char* name;
  const char* category;
  int thread;
  double begin, end;  // microseconds
};

std::atomic<bool> enabled{false};
std::atomic<int> threads{0};
std::mutex mutex;
std::vector<Span> spans;

double now() {
  return std::chrono::duration<double, std::micro>(std::chrono::system_clock::now().time_since_epoch()).count();
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
  const Span span{name_, category_, thread_number(), begin_, now()};
  const std::lock_guard lock(mutex);
  spans.push_back(span);
}

std::string trace_events() {
  const std::lock_guard lock(mutex);
  std::string text;
  for (const Span& span : spans) {
    text += fmt::format(R"({}{{"name":"{}","cat":"{}","ph":"X","ts":{:.3f},"dur":{:.3f},"pid":{},"tid":{}}})",
                        text.empty() ? "" : ",\n", span.name, span.category, span.begin, span.end - span.begin,
                        process_rank(), span.thread);
  }
  return text;
}

}  // namespace skymm
