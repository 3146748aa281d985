// Spans of time, written as a Chrome trace (opens in Perfetto or chrome://tracing).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace skymm {

// Of a rank that traces for long the newest `most` spans are kept, 40 bytes each: older ones make way, which is said
// once. Forgets the spans so far.
void enable_trace(std::size_t most = std::size_t{1} << 18);
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

// This rank's spans that are kept, as the elements of a trace's JSON array (comma-separated, no brackets), so that rank
// 0 can join those of all ranks. Times are microseconds since `start`, exact to the nanosecond: readers that take
// numbers as doubles would round those of the system clock, and spans would no longer lie inside each other.
std::string trace_events(std::int64_t start = trace_start());

}  // namespace skymm
