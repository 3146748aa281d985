// `skymm data import`: data sets of other projects into skymm's.
#pragma once

#include <string>
#include <vector>

#include "parallel/job.hpp"

namespace skymm {

// The arguments after `data import`. Returns the exit code: 1 where an input was damaged; what it held in front of the
// damage is imported.
int import_command(const std::vector<std::string>& arguments);

// That prepare entries on each rank, where none are asked for: the host's cores over its ranks.
int import_threads(int cores, const Job& job);

}  // namespace skymm
