// Asks a run to end early: a signal to any rank, or the end of the Slurm job coming near. The run saves at its next
// step boundary and ends with `exit_code::saved`, so that whoever started it starts it again.
//
//   signal -> a flag of its process -> StopRequest::asked() -> one sum over all ranks a step -> all stop at once
#pragma once

#include <chrono>
#include <optional>
#include <string>

namespace skymm {

// While one lives, SIGUSR1, SIGTERM and SIGINT ask instead of ending the process; a second SIGINT ends it at once with
// `exit_code::interrupted`. Made before MPI starts, so that start-up can be asked too. One at a time.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();  // as they were before; what was asked is forgotten
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
};

using SystemTime = std::chrono::system_clock::time_point;

// When Slurm ends this job: SLURM_JOB_END_TIME, else what scontrol says. None outside Slurm or without a limit.
std::optional<SystemTime> job_end_time();

class StopRequest {
 public:
  // how: run.save_before_end, "none", "auto" or minutes. end: of the job; none: only signals ask.
  StopRequest(const std::string& how, std::optional<SystemTime> end);

  // Whether this rank is asked to stop; stays true. Called at each step boundary: `auto` keeps twice the longest time
  // between two calls, so that a step fits in, what saving takes, and a minute; of a short job a tenth, or it would
  // never begin. Throws Error where the first call, before any step, finds the job within the minutes that were asked
  // for.
  bool asked();
  // What `auto` keeps for saving from now on, as far as it is known: seconds until a checkpoint is on disk.
  void saving_takes(double seconds) { saving_ = Seconds(seconds); }
  // Of this rank, for people: "SIGUSR1"; empty where it was not asked.
  const std::string& reason() const { return reason_; }

 private:
  using Seconds = std::chrono::duration<double>;
  Seconds margin() const;

  std::optional<SystemTime> end_;
  std::optional<Seconds> fixed_margin_;
  Seconds spare_{60};  // of `auto`
  std::chrono::steady_clock::time_point last_call_;
  Seconds longest_{0};  // between two calls
  Seconds saving_{0};
  bool called_ = false;
  std::string reason_;
};

}  // namespace skymm
