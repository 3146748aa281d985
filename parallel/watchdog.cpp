#include "parallel/watchdog.hpp"

#include <atomic>

#include "core/error.hpp"

namespace skymm {
namespace {

std::atomic<double> limit{300};

}  // namespace

void set_watchdog_limit(double seconds) {
  check(seconds >= 0, "watchdog: a limit of {} seconds is negative; 0 turns it off", seconds);
  limit = seconds;
}

double watchdog_limit() { return limit; }

}  // namespace skymm
