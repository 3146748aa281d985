#include "launch/evaluation/evaluation.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/log.hpp"
#include "io/file.hpp"
#include "parallel/watchdog.hpp"

namespace skymm {

using nlohmann::json;

Run open_to_evaluate(const Arguments& arguments, bool needs_eyes, Communicator& ranks) {
  const std::string dir = arguments.required("run");
  Run run = open_run(dir, ranks, arguments.text("device"));
  apply_process_options(run.config.run);
  check(!needs_eyes || run.config.model.vision != "none",
        "the run in {} has no vision model (model.vision is none): it cannot be asked about pictures", dir);
  return run;
}

void write_figures(const std::string& run_dir, const std::string& name, const json& figures) {
  std::filesystem::create_directories(run_dir + "/eval");
  const std::string path = fmt::format("{}/eval/{}.json", run_dir, name);
  // Text that comes from file names and answers may be no UTF-8.
  write_file(path, figures.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
  log::info("the figures are in {}", path);
}

json report_unasked(const std::vector<Unasked>& unasked, std::size_t questions) {
  check(unasked.empty() || unasked.size() < questions, "none of the {} questions could be asked; the first: {}",
        questions, unasked.empty() ? "" : unasked.front().why);
  warn_of_unasked(unasked, questions);
  return figures_of(unasked);
}

json shown_samples(const json& all) {
  constexpr std::size_t most = 24;
  json chosen = json::array();
  const std::size_t n = std::min(most, all.size());
  for (std::size_t i = 0; i < n; ++i) chosen.push_back(all[i * all.size() / n]);
  return chosen;
}

int evaluate(const char* name, const char* help, const std::vector<Flag>& flags, const std::vector<std::string>& words,
             int (*run)(const Arguments&)) {
  const Arguments arguments = parse_arguments(fmt::format("skymm eval {}", name), flags, words, 0);
  if (arguments.help) {
    std::printf("%s\n%s", help, flags_help(flags).c_str());
    return 0;
  }
  const UnlimitedWaits waits;  // who has answered its share waits for who gets long answers
  const int code = run(arguments);
  std::fflush(stdout);
  return code;
}

}  // namespace skymm
