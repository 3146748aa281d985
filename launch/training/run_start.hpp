// Where and when a run ran: a line in starts.jsonl of its directory each time it starts or resumes.
#pragma once

#include <string>
#include <vector>

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

// In order; damaged lines are left out, and a file that is not there is no start.
std::vector<RunStart> read_starts(const std::string& run_dir);

}  // namespace skymm
