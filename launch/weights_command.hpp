// skymm weights: what weight files hold, and results in the forms that other tools load.
#pragma once

#include <string>
#include <vector>

namespace skymm {

// The arguments after `skymm weights`. Returns the exit code.
int weights_command(const std::vector<std::string>& arguments);

}  // namespace skymm
