#include <cstdio>

#include "core/log.hpp"
#include "launch/command_options.hpp"
#include "launch/report.hpp"

namespace skymm {

int report_command(const std::vector<std::string>& arguments) {
  const std::vector<CommandOption> options = {{"run", "DIR", "run directory that skymm train made"}};
  const CommandArguments parsed("skymm report", options, arguments);
  if (parsed.help()) {
    std::printf(
        "skymm report --run DIR\n\nWrites DIR/report.html: what ran, its curves and figures, MME by language, sample "
        "answers. One\nfile that needs no network. Works while the run goes on, and again after skymm eval.\n\n%s",
        options_help(options).c_str());
    return 0;
  }
  const std::string dir = parsed.required("run");
  write_report(dir);
  log::info("wrote {}/report.html", dir);
  return 0;
}

}  // namespace skymm
