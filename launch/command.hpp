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

// Exit codes: 0 done, 1 an error, 2 asked in a way that skymm does not understand.
int run_command_line(const std::vector<std::string>& arguments);

// Picks the command that the first argument names. `path` is what stands before it ("skymm data"), for help texts and
// errors. Throws UsageError for an unknown one, with the nearest name.
int dispatch(const std::string& path, const std::string& about, const std::vector<Command>& commands,
             const std::vector<std::string>& arguments);

}  // namespace skymm
