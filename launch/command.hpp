// The command line of `skymm`: which commands there are, and how a process of it ends.
#pragma once

#include <string>
#include <vector>

#include "parallel/watchdog.hpp"

namespace skymm {

// How a process of skymm ends; mpirun and srun pass it on, and batch scripts and launch/supervise act on it.
namespace exit_code {
inline constexpr int done = 0;
inline constexpr int error = 1;  // it was said; all ranks ended at once
inline constexpr int usage = 2;  // asked in a way that skymm does not understand: again would be no better
inline constexpr int hang = watchdog_exit_code;
inline constexpr int saved = 75;         // EX_TEMPFAIL of sysexits.h
inline constexpr int interrupted = 130;  // as shells report SIGINT
}  // namespace exit_code

struct ExitCode {
  int code;
  const char* meaning;
};
const std::vector<ExitCode>& exit_codes();  // all of the above, as skymm --help lists them

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
