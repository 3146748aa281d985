// What is wrong when a rank waits for too long: who waits where, and who holds the others up.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "parallel/status_board.hpp"

namespace skymm {

inline constexpr double silence_of_the_stopped = 2;  // seconds without a heartbeat, ten times its period

// One line for a person: "waits in all_reduce #17 of world (f32 x 4096) for rank 2, for 301 s", "gives no sign of life
// for 12 s (stopped by a signal); its last call was ...". Times are those at `now` (steady_seconds).
std::string describe(const RankView& view, double now);

// Of the ranks of `host`, and who is at the end of the chain of those that wait, seen from `rank`.
std::string describe_hang(int rank, const std::vector<RankView>& views, double now,
                          const std::function<std::string(int rank)>& host_of);

}  // namespace skymm
