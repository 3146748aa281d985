// Spans of time, written as a Chrome trace (opens in Perfetto or chrome://tracing).
#pragma once

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
  double begin_ = -1;
};

// This rank's spans so far, as the elements of a trace's JSON array (comma-separated, no brackets), so that rank 0 can
// join those of all ranks. Times are microseconds of the system clock.
std::string trace_events();

}  // namespace skymm
