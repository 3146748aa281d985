#include "launch/report/report_evaluation.hpp"

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "io/file.hpp"
#include "launch/evaluation/mme.hpp"
#include "launch/report/html.hpp"

namespace skymm {
namespace {

using nlohmann::json;

// What must be reached before the next stage can learn (held-out canvases, nano size).
const std::map<std::string, double> goals = {{"lvm/patch_names_english", .6},
                                             {"lvm/patch_names_chinese", .6},
                                             {"lvm/retrieval_english", .75},
                                             {"lvm/retrieval_chinese", .75},
                                             {"scenes", .95},
                                             {"names", .8}};

std::string language_name(const std::string& code) {
  return code == "en" ? "English" : code == "zh" ? "Chinese" : code;
}

// Reads RUN/eval/NAME.json into `use`; a file that is not there is passed over.
template <class Use>
void with_evaluation(ReportData& report, const std::string& run_dir, const std::string& name, const Use& use) {
  const std::string path = fmt::format("{}/eval/{}.json", run_dir, name);
  if (!std::filesystem::exists(path)) return;
  try {
    use(json::parse(read_file(path)));
  } catch (const json::exception& error) {
    report.notes.push_back(fmt::format("{} is left out: it is damaged or of another form ({})", path, error.what()));
  } catch (const Error& error) {
    report.notes.push_back(fmt::format("{} is left out: {}", path, error.message()));
  }
}

ScoreTable table_of(const std::string& language, const json& figures) {
  ScoreTable table{.title = language_name(language)};
  for (const json& row : figures.at("tasks")) {
    table.rows.push_back(
        {row.at("task"), row.at("questions"), row.at("acc"), row.at("acc_plus"), row.at("score"), row.at("yes_ratio")});
  }
  for (const char* group : {"perception", "cognition"}) {
    const json& sum = figures.at(group);
    const int tasks = sum.at("tasks"), all = sum.at("all_tasks");
    if (tasks == 0) continue;
    table.sums.push_back({fmt::format("{}, {} of {} tasks", group, tasks, all), sum.at("score"), sum.at("most")});
  }
  if (figures.at("rule") != name_of(MmeRule::official)) {
    table.note = "Answers in Chinese are read by a rule of this project: its figures do not compare with MME's.";
  }
  return table;
}

bool is_right(const std::string& truth, const std::string& answer) {
  const bool chinese = truth == "是" || truth == "否";
  const bool yes = truth == "是" || truth == "Yes" || truth == "yes";
  return read_response(answer, chinese ? MmeRule::chinese : MmeRule::official) ==
         (yes ? MmeVerdict::yes : MmeVerdict::no);
}

// The questions of a picture make one card.
void add_samples(ReportData& report, const std::string& language, const json& samples) {
  std::map<std::string, std::size_t> cards;
  int missing = 0;
  for (const json& sample : samples) {
    const std::string path = sample.at("image"), task = sample.at("task");
    const auto [card, added] = cards.emplace(task + '\n' + path, report.samples.size());
    if (added) {
      report.samples.push_back({.group = language_name(language), .caption = task});
      try {
        report.samples.back().image = read_file(path);
      } catch (const Error&) {
        ++missing;
      }
    }
    const std::string truth = sample.at("truth"), answer = sample.at("answer");
    report.samples[card->second].exchanges.push_back({sample.at("question"), truth, answer, is_right(truth, answer)});
  }
  if (missing > 0) {
    report.notes.push_back(
        fmt::format("sample pictures that cannot be read are left out: {} ({})", missing, language_name(language)));
  }
}

Figure figure_of(const std::string& group, const std::string& name, double value, const std::string& gate,
                 std::int64_t count) {
  const auto goal = goals.find(gate);
  Figure figure{group, name, value};
  if (goal != goals.end()) figure.goal = goal->second;
  figure.note = fmt::format("of {}", grouped(count));
  return figure;
}

void add_kinds(ReportData& report, const json& figures, const std::string& group, const std::string& gate) {
  for (const json& total : figures.at("totals")) {
    const std::string name =
        fmt::format("all, {}, {}", language_name(total.at("language")), total.at("form").get<std::string>());
    report.figures.push_back(figure_of(group, name, total.at("accuracy"), gate, total.at("asked")));
  }
  if (!gate.empty()) return;  // the totals are what the gate asks
  for (const json& kind : figures.at("kinds")) {
    const std::string name =
        fmt::format("{}, {}", kind.at("task").get<std::string>(), language_name(kind.at("language")));
    report.figures.push_back(figure_of(group, name, kind.at("accuracy"), "", kind.at("asked")));
  }
}

}  // namespace

void add_mme(ReportData& report, const std::string& run_dir) {
  with_evaluation(report, run_dir, "mme", [&](const json& figures) {
    for (const auto& [language, of] : figures.at("languages").items()) report.scores.push_back(table_of(language, of));
    for (const auto& [language, of] : figures.at("languages").items()) {
      if (of.contains("samples")) add_samples(report, language, of.at("samples"));
    }
  });
}

void add_gates(ReportData& report, const std::string& run_dir, const std::string& label) {
  with_evaluation(report, run_dir, "scenes", [&](const json& figures) {
    add_kinds(report, figures, label + ": text-only questions about held-out scenes", "scenes");
  });
  with_evaluation(report, run_dir, "names", [&](const json& figures) {
    const std::string group = label + ": things that captions name";
    for (const auto& [language, of] : figures.at("languages").items()) {
      report.figures.push_back(figure_of(group, fmt::format("named and there, {}", language_name(language)),
                                         of.at("precision"), "names", of.at("named")));
      report.figures.push_back(figure_of(group, fmt::format("there and named, {}", language_name(language)),
                                         of.at("recall"), "", of.at("present")));
    }
  });
  with_evaluation(report, run_dir, "pope", [&](const json& figures) {
    for (const json& split : figures.at("splits")) {
      const std::string group = label + ": POPE, " + split.at("split").get<std::string>();
      for (const char* name : {"accuracy", "precision", "recall", "f1", "yes_ratio"}) {
        report.figures.push_back(figure_of(group, name, split.at(name), "", split.at("questions")));
      }
    }
  });
  with_evaluation(report, run_dir, "mmbench", [&](const json& figures) {
    const std::string group = label + ": MMBench, circular";
    for (const json& l2 : figures.at("l2")) {
      report.figures.push_back(figure_of(group, l2.at("name"), l2.at("accuracy"), "", l2.at("questions")));
    }
    const json& all = figures.at("all");
    report.figures.push_back(figure_of(group, "all", all.at("accuracy"), "", all.at("questions")));
  });
  with_evaluation(report, run_dir, "answers", [&](const json& figures) {
    add_kinds(report, figures, label + ": answers right word for word", "");
  });
}

double goal_of(const std::string& name) {
  const auto goal = goals.find(name);
  return goal == goals.end() ? std::numeric_limits<double>::quiet_NaN() : goal->second;
}

}  // namespace skymm
