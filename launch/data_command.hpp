// `skymm data`: data sets in and out of HDF5.
#pragma once

#include <string>
#include <vector>

namespace skymm {

// The arguments after `data`. Returns the exit code; results go to standard output.
int data_command(const std::vector<std::string>& arguments);

}  // namespace skymm
