#include "launch/train_command.hpp"

#include <cstdio>
#include <utility>

#include "core/log.hpp"
#include "core/trace.hpp"
#include "launch/command.hpp"
#include "launch/config/config.hpp"
#include "launch/config/exit_code.hpp"
#include "launch/report/report.hpp"
#include "launch/training/lvm_training.hpp"
#include "launch/training/ranks_report.hpp"
#include "launch/training/run_lock.hpp"
#include "launch/training/stop_request.hpp"
#include "launch/training/trainer.hpp"
#include "parallel/communicator.hpp"
#include "parallel/job.hpp"
#include "parallel/nccl_communicator.hpp"
#include "parallel/stacks.hpp"
#include "parallel/watchdog.hpp"

namespace skymm {

namespace {

// On rank 0. Of a node that Slurm has lost, the start before may still live: this one is put back then, as after a
// hang.
void hold(std::optional<RunLock>& lock, const std::string& run_dir, const Job& job) {
  try {
    lock.emplace(run_dir);
  } catch (const RunInUse& error) {
    if (job.restarts == 0) throw;
    log::write(LogLevel::error, error.message_and_place());
    end_ranks(exit_code::hang);
  }
}

}  // namespace

int train_command(const std::vector<std::string>& arguments) {
  const std::optional<TrainConfig> config = parse_config(arguments);
  if (!config) {
    std::fputs(config_help().c_str(), stdout);
    return 0;
  }
  // Who trains the vision model has no checkpoints to save: there signals end the process as usual.
  std::optional<StopSignals> signals;
  if (config->train.objective != "lvm") signals.emplace();
  const Job job = read_job();
  check_launcher(job);
  set_watchdog_limit(config->parallel.watchdog_seconds);
  std::unique_ptr<Communicator> ranks = world();
  check_config(*config);
  if (ranks->rank() == 0) check_files(*config);
  apply_process_options(config->run);
  Device& device = device_of(config->run);
  set_check_collectives(config->parallel.check_collectives);
  set_stacks_folder(config->run.dir);
  ranks = connect(std::move(ranks), device, parse_transport(config->parallel.transport));
  if (const std::string clocks = clock_differences(*ranks); !clocks.empty() && ranks->rank() == 0) {
    log::warn("clocks are ahead of that of rank 0: {}; times in logs and of files do not compare", clocks);
  }
  if (config->run.trace) enable_trace();
  std::optional<RunLock> lock;
  if (ranks->rank() == 0) hold(lock, config->run.dir, job);
  log::info("{}; on {}; run directory {}", describe(job), device.name(), config->run.dir);
  if (!config->run.cudnn.empty()) log::info("cuDNN computes {}", fmt::join(config->run.cudnn, " and "));
  if (device.is_emulated()) log::warn("CUDA's kernels run emulated on the CPU, to test them: this is very slow");
  RunEnd end = RunEnd::done;
  if (config->train.objective == "lvm") {
    train_lvm(*config, *ranks);
  } else {
    end = Trainer(*config, *ranks).run();
  }
  if (config->run.trace) write_trace(*ranks, config->run.dir + "/trace.json");
  if (end == RunEnd::stopped) return exit_code::saved;  // a report may take longer than there is
  if (end == RunEnd::stopped_unsaved) return exit_code::hang;
  if (ranks->rank() == 0) {
    try {
      write_report(config->run.dir);
      log::info("the report is in {}/report.html", config->run.dir);
    } catch (const Error& error) {  // the run itself is whole
      log::warn("no report: {}; skymm report --run {} tries again", error.message(), config->run.dir);
    }
  }
  return end == RunEnd::done_unsaved ? exit_code::unsaved : exit_code::done;
}

}  // namespace skymm
