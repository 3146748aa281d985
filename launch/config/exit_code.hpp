// How a process of skymm ends, for who started it: mpirun and srun pass the code on; batch scripts and launch/supervise
// act on it.
#pragma once

#include <vector>

#include "parallel/watchdog.hpp"

namespace skymm {

namespace exit_code {
inline constexpr int done = 0;
inline constexpr int error = 1;  // it was said; all ranks ended at once
inline constexpr int usage = 2;  // asked in a way that skymm does not understand: again would be no better
inline constexpr int hang = watchdog_exit_code;  // or asked to stop, it could not save: again, but not for ever
inline constexpr int unsaved = 74;               // EX_IOERR of sysexits.h: done, without its last checkpoint
inline constexpr int saved = 75;                 // EX_TEMPFAIL of sysexits.h
inline constexpr int interrupted = 130;          // as shells report SIGINT
}  // namespace exit_code

struct ExitCode {
  int code;
  const char* meaning;
};
const std::vector<ExitCode>& exit_codes();  // all of the above, as skymm --help lists them

}  // namespace skymm
