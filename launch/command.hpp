// The command line of `skymm`: which commands there are, and how a process of it ends.
#pragma once

#include <string>
#include <vector>

namespace skymm {

struct Command {
  const char* name;
  const char* help;                                       // one line
  int (*run)(const std::vector<std::string>& arguments);  // those after its name; returns the exit code
};

// Returns the exit code.
int run_command_line(const std::vector<std::string>& arguments);

// Picks the command that the first argument names. `path` is what stands before it ("skymm data"), for help texts and
// errors. Throws UsageError for an unknown one, with the nearest name.
int dispatch(const std::string& path, const std::string& about, const std::vector<Command>& commands,
             const std::vector<std::string>& arguments);

}  // namespace skymm
