#include <algorithm>
#include <boost/program_options.hpp>
#include <filesystem>
#include <map>

#include "core/error.hpp"
#include "io/file.hpp"
#include "launch/config/options.hpp"
#include "launch/report/html.hpp"
#include "launch/report/report.hpp"
#include "launch/report/report_evaluation.hpp"
#include "launch/report/run_history.hpp"
#include "launch/training/run_start.hpp"

namespace skymm {
namespace {

namespace fs = std::filesystem;
namespace po = boost::program_options;

constexpr const char* validation_name = "validation loss";

struct RecordedRun {
  std::string dir, label;
  std::map<std::string, std::string> config;  // by section.name; empty where there is no config.ini
  RunHistory history;

  std::string option(const std::string& name) const {
    const auto found = config.find(name);
    return found == config.end() ? "" : found->second;
  }
};

// Leniently, where parse_config is strict: a report of a run of another version is worth more than an error.
std::map<std::string, std::string> read_options(const std::string& path, std::vector<std::string>& notes) {
  std::map<std::string, std::string> options;
  if (!fs::exists(path)) return options;
  try {
    const po::options_description none;
    for (const po::option& option : po::parse_config_file<char>(path.c_str(), none, true).options) {
      options[option.string_key] = option.value.empty() ? "" : option.value.front();
    }
  } catch (const po::error& error) {
    notes.push_back(fmt::format("{} is not wholly read: {}", path, error.what()));
  }
  return options;
}

// The run itself, behind the runs that its weights come from (depth first, each once).
void add_runs(std::vector<RecordedRun>& runs, std::vector<std::string>& visited, const std::string& dir,
              std::vector<std::string>& notes) {
  const std::string key = fs::weakly_canonical(dir).string();
  if (std::ranges::find(visited, key) != visited.end()) return;
  visited.push_back(key);
  RecordedRun run{.dir = dir, .label = fs::path(key).filename().string()};
  run.config = read_options(dir + "/config.ini", notes);
  for (const std::string& file : split_list(run.option("model.weights"))) {
    const std::string folder = fs::path(file).parent_path().string();
    if (!folder.empty() && fs::exists(folder + "/metrics.jsonl")) add_runs(runs, visited, folder, notes);
  }
  run.history = read_history(dir + "/metrics.jsonl");
  if (run.history.damaged_lines > 0) {
    const bool one = run.history.damaged_lines == 1;
    notes.push_back(fmt::format("{} {} of {}/metrics.jsonl {} damaged and left out", run.history.damaged_lines,
                                one ? "line" : "lines", dir, one ? "is" : "are"));
  }
  runs.push_back(std::move(run));
}

std::string what_trains(const RecordedRun& run) {
  const std::string objective = run.option("train.objective");
  if (objective.empty()) return "";
  if (objective == "lvm") return fmt::format("the vision model {}", run.option("model.vision"));
  const std::string models = run.option("model.vision") == "none"
                                 ? run.option("model.decoder")
                                 : fmt::format("{} + {}", run.option("model.decoder"), run.option("model.vision"));
  return fmt::format("{} of {}", run.option("model.train"), models);
}

Points rate_of(const Points& amounts, const Points& seconds) {
  Points rates;
  if (amounts.size() != seconds.size() || sum_of(amounts) <= 0) return rates;
  for (std::size_t i = 0; i < amounts.size(); ++i) {
    if (seconds[i].second > 0) rates.emplace_back(amounts[i].first, amounts[i].second / seconds[i].second);
  }
  return rates;
}

std::string figures_title(const RecordedRun& run, const std::string& group) {
  return fmt::format("{}: {}", run.label, group == run.label ? "measured" : group);
}

// What was drawn from the data, not what was learnt from it.
bool tells_of_data(const std::string& group) { return group == "mixture" || group == "epochs"; }

// Curves that share what stands before the slash of their name share a plot.
void add_plots(ReportData& report, const RecordedRun& run) {
  Plot loss{fmt::format("{}: loss", run.label), "step", "loss", {{"training", run.history.loss, true}}};
  std::map<std::string, Plot> others;
  for (const Curve& figure : run.history.figures) {
    if (figure.name == validation_name) {
      loss.curves.push_back({"validation", figure.points});
      continue;
    }
    const std::size_t slash = figure.name.find('/');
    const std::string group = slash == std::string::npos ? figure.name : figure.name.substr(0, slash);
    Plot& plot = others.try_emplace(group, Plot{figures_title(run, group), "step", ""}).first->second;
    std::string name = figure.name.substr(slash == std::string::npos ? 0 : slash + 1);
    std::ranges::replace(name, '_', ' ');
    plot.curves.push_back({name, figure.points});
  }
  report.plots.push_back(std::move(loss));
  for (auto& [name, plot] : others) {
    plot.linear = tells_of_data(name);
    (plot.linear ? report.more_plots : report.plots).push_back(std::move(plot));
  }
}

void add_more_plots(ReportData& report, const RecordedRun& run) {
  const RunHistory& history = run.history;
  const auto add = [&](const std::string& title, Points points, bool noisy) {
    if (sum_of(points) > 0) report.more_plots.push_back({title, "step", "", {{title, std::move(points), noisy}}, true});
  };
  add("learning rate", thinned(history.learning_rate, 300), false);
  add("gradient norm", history.gradient_norm, true);
  add("tokens per second", rate_of(history.tokens, history.seconds), true);
  add("pictures per second", rate_of(history.images, history.seconds), true);
}

// The last values of curves such as lvm/retrieval_english.
void add_last_figures(ReportData& report, const RecordedRun& run) {
  for (const Curve& figure : run.history.figures) {
    const std::size_t slash = figure.name.find('/');
    if (slash == std::string::npos || figure.points.empty() || tells_of_data(figure.name.substr(0, slash))) continue;
    const auto [step, value] = figure.points.back();
    if (value < 0 || value > 1) continue;  // no share
    std::string name = figure.name.substr(slash + 1);
    std::ranges::replace(name, '_', ' ');
    report.figures.push_back({figures_title(run, figure.name.substr(0, slash)), name, value, goal_of(figure.name),
                              fmt::format("step {}", grouped(static_cast<std::int64_t>(step)))});
  }
}

// 2025-01-31 13:05 UTC
std::string clock_of(const RunStart& start) {
  return start.time.size() < 16 ? start.time
                                : fmt::format("{} {} UTC", start.time.substr(0, 10), start.time.substr(11, 5));
}

void add_facts(ReportData& report, const RecordedRun& run) {
  const RunHistory& history = run.history;
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) report.facts.emplace_back(name, value);
  };
  add("trains", what_trains(run));
  const std::string steps = run.option("train.steps");
  const std::string done = grouped(history.last_step);
  add("steps",
      steps.empty() || steps == std::to_string(history.last_step) ? done : fmt::format("{} of {}", done, steps));
  add("time in steps", duration_text(history.total_seconds));
  if (!history.loss.empty()) add("training loss at the end", number_text(smoothed(history.loss).back().second));
  if (const Points* validation = history.figure(validation_name)) {
    add("validation loss at the end", number_text(validation->back().second));
  }
  const double seconds = sum_of(history.seconds), tokens = sum_of(history.tokens), images = sum_of(history.images);
  const auto amount = [&](double sum) {
    return fmt::format("{} ({} a second)", grouped(static_cast<std::int64_t>(sum)), number_text(sum / seconds));
  };
  if (tokens > 0 && seconds > 0) add("tokens", amount(tokens));
  if (images > 0 && seconds > 0) add("pictures", amount(images));
  add("global batch", run.option("train.global_batch"));
  add("numbers", run.option("model.dtype"));
  add("data", run.option("data.train"));
  if (history.bad_samples > 0) add("bad samples passed over", grouped(history.bad_samples));
  if (history.cut > 0) add("turns and ends of texts cut at the length limit", grouped(history.cut));
  if (history.skipped > 0) add("steps skipped, gradient not finite", grouped(history.skipped));
  const std::vector<RunStart> starts = read_starts(run.dir);
  if (starts.empty()) return;
  const RunStart& start = starts.back();
  add("started", clock_of(starts.front()));
  const std::size_t again = starts.size() - 1;
  if (again > 0)
    add("resumed", again == 1 ? clock_of(start) : fmt::format("{} times, last {}", again, clock_of(start)));
  add("machine", fmt::format("{}: {}, {} cores", start.host, start.cpu, start.cores));
  add("ranks", fmt::format("{} × {} {}", start.ranks, start.threads, start.threads == 1 ? "thread" : "threads"));
}

std::string text_if_there(const std::string& path) { return fs::exists(path) ? read_file(path) : ""; }

}  // namespace

ReportData collect_report(const std::string& run_dir) {
  check(fs::exists(run_dir + "/config.ini") || fs::exists(run_dir + "/metrics.jsonl"),
        "{} is no run directory: it has neither config.ini nor metrics.jsonl; skymm train makes one", run_dir);
  ReportData report;
  std::vector<RecordedRun> runs;
  std::vector<std::string> visited;
  add_runs(runs, visited, run_dir, report.notes);
  const RecordedRun& run = runs.back();
  report.title = run.label;
  const std::string objective = run.option("train.objective");
  report.subtitle = objective.empty() ? run_dir : fmt::format("{} · {}", objective, run_dir);
  add_facts(report, run);
  for (const RecordedRun& each : runs) {
    add_plots(report, each);
    add_last_figures(report, each);
    add_gates(report, each.dir, each.label);
  }
  add_more_plots(report, run);
  add_answers(report, run_dir);
  report.trainable = text_if_there(run_dir + "/trainable.txt");
  report.config = text_if_there(run_dir + "/config.ini");
  return report;
}

}  // namespace skymm
