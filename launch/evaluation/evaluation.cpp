#include "launch/evaluation/evaluation.hpp"

#include <fmt/chrono.h>

#include <cstdio>
#include <ctime>
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

namespace {

void write_json(const std::string& path, const json& figures) {
  // Text that comes from file names and answers may be no UTF-8.
  write_file(path, figures.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
  log::info("the figures are in {}", path);
}

}  // namespace

json report_unasked(const std::vector<Unasked>& unasked, std::size_t questions) {
  check(unasked.empty() || unasked.size() < questions, "none of the {} questions could be asked; the first: {}",
        questions, unasked.empty() ? "" : unasked.front().why);
  warn_of_unasked(unasked, questions);
  return figures_of(unasked);
}

void write_figures(const std::string& run_dir, const std::string& name, const json& figures) {
  std::filesystem::create_directories(run_dir + "/eval");
  write_json(fmt::format("{}/eval/{}.json", run_dir, name), figures);
}

std::string figures_name(const std::string& benchmark, AnswerBy by) {
  return by == AnswerBy::generation ? benchmark : benchmark + "_by_likelihood";
}

std::string label_of(AnswerBy by) { return fmt::format(", by {}", name_of(by)); }

void write_languages(const std::string& path, json languages) {
  if (const auto folder = std::filesystem::path(path).parent_path(); !folder.empty()) {
    std::filesystem::create_directories(folder);
  }
  const std::string time = fmt::format("{:%FT%TZ}", fmt::gmtime(std::time(nullptr)));
  for (json& figures : languages) figures["time"] = time;
  if (std::filesystem::exists(path)) {
    const json former = json::parse(read_file(path), nullptr, false);
    if (former.is_object() && former.contains("languages") && former.at("languages").is_object()) {
      for (const auto& [language, figures] : former.at("languages").items()) {
        if (!languages.contains(language)) languages[language] = figures;
      }
    }
  }
  write_json(path, {{"languages", languages}});
}

void write_scores(const std::string& results, const json& languages) {
  const std::filesystem::path path(results);
  const std::filesystem::path folder = std::filesystem::is_directory(path) ? path : path.parent_path();
  try {
    write_languages((folder / "scores.json").string(), languages);
  } catch (const Error& error) {
    log::warn("the figures are not in a file: {}", error.message());
  }
}

bool scores_results(const Arguments& arguments, const std::vector<std::string>& of_run) {
  const auto given = [&](const std::string& name) { return arguments.find(name) != nullptr; };
  if (given("run") || given("data")) return false;
  if (!given("results")) fail_usage("{} needs --run and --data, or --results; --help shows how", arguments.command);
  for (const std::string& name : of_run) {
    if (given(name)) fail_usage("--{} goes with --run: existing result files are scored as they are", name);
  }
  return true;
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
