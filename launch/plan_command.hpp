// `skymm plan`: answers before a job starts.
//
//   --config  what fits, how fast, on which grid of ranks, of a recipe
//   --draw    a pipeline schedule as a picture, and how long its stages idle
#pragma once

#include <string>
#include <vector>

namespace skymm {

// The arguments after `plan`. Returns the exit code; throws UsageError for arguments that make no sense.
int plan_command(const std::vector<std::string>& arguments);

}  // namespace skymm
