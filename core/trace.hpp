// Spans of time, written as a Chrome trace (opens in Perfetto or chrome://tracing).
#pragma once

#include <cstdint>
#include <string>

namespace skymm {

void enable_trace();
bool trace_enabled();

// Notes the time from here to the end of the scope. `name` and `category` are string literals. Free while disabled.
class TraceSpan {
 public:
  explicit TraceSpan(const char* name, const char* category = "compute");
  ~TraceSpan();
  TraceSpan(const TraceSpan&) = delete;
  TraceSpan& operator=(const TraceSpan&) = delete;

 private:
  const char* name_;
  const char* category_;
  std::int64_t begin_ = -1;  // nanoseconds
};

// When this rank's first span began, in nanoseconds of the system clock; the largest number where there is none.
std::int64_t trace_start();

// This rank's spans so far, as the elements of a trace's JSON array (comma-separated, no brackets), so that rank 0 can
// join those of all ranks. Times are microseconds since `start`, exact to the nanosecond: readers that take numbers as
// doubles would round those of the system clock, and spans would no longer lie inside each other.
std::string trace_events(std::int64_t start = trace_start());

}  // namespace skymm
