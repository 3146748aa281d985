#include <cstdio>

#include "core/log.hpp"
#include "launch/config/options.hpp"
#include "launch/report/report.hpp"

namespace skymm {

int report_command(const std::vector<std::string>& arguments) {
  const std::vector<Flag> flags = {{"run", "DIR", "run directory that skymm train made"}};
  const Arguments given = parse_arguments("skymm report", flags, arguments, 0);
  if (given.help) {
    std::printf(
        "skymm report --run DIR\n\nWrites DIR/report.html: what ran, its curves and figures, MME by language, sample "
        "answers. One\nfile that needs no network. Works while the run goes on, and again after skymm eval.\n\n%s",
        flags_help(flags).c_str());
    return 0;
  }
  const std::string* dir = given.find("run");
  if (dir == nullptr) fail_usage("skymm report needs --run DIR; skymm report --help says more");
  write_report(*dir);
  log::info("wrote {}/report.html", *dir);
  return 0;
}

}  // namespace skymm
