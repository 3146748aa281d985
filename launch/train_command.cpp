#include "launch/train_command.hpp"

#include <cstdio>
#include <filesystem>

#include "core/log.hpp"
#include "core/trace.hpp"
#include "io/file.hpp"
#include "launch/config.hpp"
#include "launch/lvm_training.hpp"
#include "launch/ranks_report.hpp"
#include "launch/report.hpp"
#include "launch/run_start.hpp"
#include "launch/trainer.hpp"
#include "parallel/communicator.hpp"
#include "parallel/stacks.hpp"
#include "parallel/watchdog.hpp"

namespace skymm {

int train_command(const std::vector<std::string>& arguments) {
  const std::optional<TrainConfig> config = parse_config(arguments);
  if (!config) {
    std::fputs(config_help().c_str(), stdout);
    return 0;
  }
  const std::unique_ptr<Communicator> ranks = world();
  check_config(*config);
  apply_process_options(config->run);
  set_check_collectives(config->parallel.check_collectives);
  set_watchdog_limit(config->parallel.watchdog_seconds);
  set_stacks_folder(config->run.dir);
  if (config->run.trace) enable_trace();
  if (ranks->rank() == 0) {
    std::filesystem::create_directories(config->run.dir);
    write_file(config->run.dir + "/config.ini", to_ini(*config));
    append_start(config->run.dir, this_start(ranks->size()));
  }
  log::info("{} ranks, config in {}/config.ini", ranks->size(), config->run.dir);
  if (config->train.objective == "lvm") {
    train_lvm(*config, *ranks);
  } else {
    Trainer(*config, *ranks).run();
  }
  if (config->run.trace) write_trace(*ranks, config->run.dir + "/trace.json");
  if (ranks->rank() == 0) {
    try {
      write_report(config->run.dir);
      log::info("the report is in {}/report.html", config->run.dir);
    } catch (const Error& error) {  // the run itself is whole
      log::warn("no report: {}; skymm report --run {} tries again", error.message(), config->run.dir);
    }
  }
  return 0;
}

}  // namespace skymm
