// What all ranks have to tell about a run, put together on rank 0.
#pragma once

#include <string>

#include "core/communicator.hpp"
#include "launch/assembly/model_loading.hpp"
#include "parallel/clock_offset.hpp"

namespace skymm {

// A line a purpose: the most of its `device`'s memory that a rank had live at once, MiB, and which rank it was; then
// what ranks of one node share, which is in no other line. Collective.
std::string memory_table(Communicator& world, const SharedWeights& shared = {}, Device& device = cpu());

// The hosts whose clocks are a second or more from that of rank 0's host, such as "node3 (rank 8) by 12.3 s"; empty
// where there is none. On every rank. Collective.
std::string clock_differences(Communicator& world, const HostClock& clock = system_nanoseconds);

// The spans of all ranks (core/trace.hpp) in one Chrome trace, a process a rank, all by rank 0's clock. Written by
// rank 0, which warns where it cannot. Collective.
void write_trace(Communicator& world, const std::string& path);

}  // namespace skymm
