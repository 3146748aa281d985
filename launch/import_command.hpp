// `skymm data import`: data sets of other projects into skymm's.
#pragma once

#include <string>
#include <vector>

namespace skymm {

// The arguments after `data import`. Returns the exit code: 1 where an input was damaged; what it held in front of the
// damage is imported.
int import_command(const std::vector<std::string>& arguments);

}  // namespace skymm
