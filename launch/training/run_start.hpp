// Where and when a run ran: a line in starts.jsonl of its directory each time it starts or resumes.
#pragma once

#include <string>
#include <vector>

#include "launch/config/config.hpp"

namespace skymm {

struct RunStart {
  std::string time;  // UTC, such as 2025-01-31T13:05:00Z
  std::string host, cpu;
  int cores = 0, ranks = 0, threads = 0;  // cores of the host; threads of a rank
};

double seconds_since_process_start();

// Of this process. What the system does not tell stays empty.
RunStart this_start(int ranks);

void append_start(const std::string& run_dir, const RunStart& start);

// config.ini of the run directory, which is made where it is missing, and this start of so many ranks. Called by one of
// them once it is certain that the run starts: what a refused one was asked must not stand beside another's weights.
void record_start(const TrainConfig& config, int ranks);

// In order; damaged lines are left out, and a file that is not there is no start.
std::vector<RunStart> read_starts(const std::string& run_dir);

}  // namespace skymm
