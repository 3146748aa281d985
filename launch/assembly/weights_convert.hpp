// `skymm weights convert` and `skymm weights synthesize`: files of weights in another format, or of random numbers. One
// weight at a time is in memory.
#pragma once

#include <string>
#include <vector>

namespace skymm {

// The arguments after the word. Return the exit code; throw UsageError for arguments that make no sense, and Error,
// which names file and tensor, for files that cannot be read or written.
int convert_command(const std::vector<std::string>& arguments);
int synthesize_command(const std::vector<std::string>& arguments);

}  // namespace skymm
