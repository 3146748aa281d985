#include "launch/config/exit_code.hpp"

namespace skymm {

const std::vector<ExitCode>& exit_codes() {
  static const std::vector<ExitCode> table = {
      {exit_code::done, "done"},
      {exit_code::error, "an error, which was said; or a rank was lost in a way that only mpirun saw"},
      {exit_code::usage, "asked for something that skymm does not know: starting again would be no better"},
      {exit_code::hang,
       "a rank hung or died, and the watchdog ended the job and named it; or asked to stop it could not save, and goes "
       "on from an earlier checkpoint; start it again to resume"},
      {exit_code::unsaved, "done, but the last checkpoint could not be written: trained.safetensors has the weights"},
      {exit_code::saved,
       "asked to stop (SIGUSR1, SIGTERM, SIGINT, or the end of the Slurm job), it has saved; start it "
       "again to resume"},
      {exit_code::interrupted, "interrupted twice (SIGINT): ended at once, without saving"},
  };
  return table;
}

}  // namespace skymm
