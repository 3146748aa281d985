// `skymm weights`: files of weights, converted and made.
#pragma once

#include <string>
#include <vector>

namespace skymm {

// The arguments after `weights`. Returns the exit code; throws UsageError for arguments that make no sense, and Error,
// which names file and tensor, for files that cannot be read or written.
int weights_command(const std::vector<std::string>& arguments);

}  // namespace skymm
