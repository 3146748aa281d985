// How the clocks of a job's hosts differ.
#pragma once

#include <cstdint>
#include <functional>

#include "core/communicator.hpp"

namespace skymm {

using HostClock = std::function<std::int64_t()>;  // nanoseconds since 1970
std::int64_t system_nanoseconds();

// How far this rank's clock is ahead of rank 0's, in nanoseconds. Rank 0 asks each rank for its time several times, and
// takes the answer that came soonest as given half way there and back. 0 where the difference is less than half of that
// round trip, and so may be none. Collective.
std::int64_t clock_offset(Communicator& world, const HostClock& clock = system_nanoseconds);

}  // namespace skymm
