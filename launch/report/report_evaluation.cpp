#include "launch/report/report_evaluation.hpp"

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "io/file.hpp"
#include "launch/evaluation/evaluation.hpp"
#include "launch/evaluation/mmbench.hpp"
#include "launch/evaluation/mme.hpp"
#include "launch/evaluation/pope.hpp"
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
  std::string note;
  try {
    use(json::parse(read_file(path)));
  } catch (const json::exception& error) {
    note = fmt::format("{} is left out: it is damaged or of another form ({})", path, error.what());
  } catch (const Error& error) {
    note = fmt::format("{} is left out: {}", path, error.message());
  }
  // Figures and samples of a benchmark come from one file.
  const bool is_new = std::ranges::find(report.notes, note) == report.notes.end();
  if (!note.empty() && is_new) report.notes.push_back(note);
}

// The benchmarks' names in eval/ and on the page, each of generated answers and of answers by likelihood.
struct Benchmark {
  std::string name, title, label;
};

std::vector<Benchmark> with_likelihood(const std::string& name, const std::string& title) {
  return {{name, title, ""}, {figures_name(name, AnswerBy::likelihood), title, label_of(AnswerBy::likelihood)}};
}

ScoreTable table_of(const std::string& title, const json& figures) {
  ScoreTable table{.title = title};
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
  if (figures.value("by", "") == name_of(AnswerBy::likelihood)) {
    table.note +=
        fmt::format("{}The model chose between yes and no by their likelihood; MME's rule is for what it says.",
                    table.note.empty() ? "" : " ");
  }
  return table;
}

// The questions about a picture, which make one card; by their places among the samples.
struct CardOf {
  std::vector<std::size_t> samples;
  bool wrong = false;
};

std::vector<CardOf> cards_of(const json& samples) {
  std::vector<CardOf> cards;
  std::map<std::string, std::size_t> numbers;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const json& sample = samples[i];
    // MMBench's pictures have no name: the rotations of a question share one.
    const std::string picture = sample.contains("image")
                                    ? sample.at("image").get<std::string>()
                                    : std::to_string(sample.at("index").get<std::int64_t>() % mmbench_rotation);
    const auto [number, added] = numbers.emplace(sample.at("task").get<std::string>() + '\n' + picture, cards.size());
    if (added) cards.emplace_back();
    cards[number->second].samples.push_back(i);
    cards[number->second].wrong |= !sample.at("right").get<bool>();
  }
  return cards;
}

void take_spread(std::vector<CardOf>& chosen, const std::vector<CardOf>& from, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) chosen.push_back(from[i * from.size() / count]);
}

// At most 24, each kind evenly spread over the tasks: those with a wrong answer first, then at least six that are
// right, as far as there are any.
std::vector<CardOf> chosen_of(const std::vector<CardOf>& all) {
  constexpr std::size_t most = 24, least_right = 6;
  std::vector<CardOf> wrong, right, chosen;
  for (const CardOf& card : all) (card.wrong ? wrong : right).push_back(card);
  const std::size_t wrong_ones = std::min(wrong.size(), most - std::min(right.size(), least_right));
  take_spread(chosen, wrong, wrong_ones);
  take_spread(chosen, right, std::min(right.size(), most - wrong_ones));
  return chosen;
}

// The pictures of rows of MMBench's table; "" of the others.
std::vector<std::string> mmbench_pictures(const std::string& table, const std::vector<CardOf>& cards) {
  std::vector<std::string> pictures;
  const auto wanted = [&](std::size_t row) {
    return std::ranges::any_of(cards, [&](const CardOf& card) { return card.samples.front() == row; });
  };
  for (MmbenchQuestion& question : read_mmbench_table(table, wanted)) pictures.push_back(std::move(question.image));
  return pictures;
}

void add_samples(ReportData& report, const std::string& group, const json& figures) {
  const json& samples = figures.at("samples");
  const std::vector<CardOf> all = cards_of(samples), chosen = chosen_of(all);
  std::vector<std::string> rows;  // of MMBench
  int missing = 0;
  const auto picture_of = [&](std::size_t sample) -> std::string {
    try {
      if (samples[sample].contains("image")) return read_file(samples[sample].at("image"));
      if (rows.empty()) rows = mmbench_pictures(figures.at("data"), chosen);
      return rows.at(sample);
    } catch (const std::exception&) {  // what is gone, damaged, or has become another table
      ++missing;
      return "";
    }
  };
  for (const CardOf& card : chosen) {
    report.samples.push_back({group, samples[card.samples.front()].at("task"), picture_of(card.samples.front()), {}});
    for (const std::size_t i : card.samples) {
      report.samples.back().exchanges.push_back(
          {samples[i].at("question"), samples[i].at("truth"), samples[i].at("answer"), samples[i].at("right")});
    }
  }
  const auto wrong = [](const std::vector<CardOf>& cards) {
    return grouped(std::ranges::count(cards, true, &CardOf::wrong));
  };
  report.sample_notes.emplace_back(
      group,
      fmt::format("{} of {} pictures are shown, of those with a wrong answer {} of {}; all answers are in eval/.",
                  grouped(std::ssize(chosen)), grouped(std::ssize(all)), wrong(chosen), wrong(all)));
  if (missing > 0) {
    report.notes.push_back(fmt::format("sample pictures that cannot be read are left out: {} ({})", missing, group));
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

void add_pope(ReportData& report, const json& figures, const std::string& label, const std::string& language,
              const Benchmark& benchmark) {
  const bool official = figures.at("rule") == name_of(PopeRule::official);
  for (const json& split : figures.at("splits")) {
    const std::string group =
        fmt::format("{}: POPE, {}, {}{}{}", label, split.at("split").get<std::string>(), language_name(language),
                    benchmark.label, official ? "" : " (a rule of this project, no part of POPE)");
    for (const char* name : {"accuracy", "precision", "recall", "f1", "yes_ratio"}) {
      report.figures.push_back(figure_of(group, name, split.at(name), "", split.at("questions")));
    }
  }
}

// L2 abilities, each with its L3 abilities behind it.
void add_mmbench(ReportData& report, const json& figures, const std::string& group) {
  for (const json& l2 : figures.at("l2")) {
    report.figures.push_back(figure_of(group, l2.at("name"), l2.at("accuracy"), "", l2.at("questions")));
    for (const json& l3 : figures.at("l3")) {
      if (l3.at("l2") != l2.at("name")) continue;
      const std::string name =
          fmt::format("{} · {}", l2.at("name").get<std::string>(), l3.at("name").get<std::string>());
      report.figures.push_back(figure_of(group, name, l3.at("accuracy"), "", l3.at("questions")));
    }
  }
  const json& all = figures.at("all");
  report.figures.push_back(figure_of(group, "all", all.at("accuracy"), "", all.at("questions")));
}

}  // namespace

void add_answers(ReportData& report, const std::string& run_dir) {
  for (const auto& [name, title] : {std::pair{"mme", "MME"}, {"pope", "POPE"}, {"mmbench", "MMBench"}}) {
    for (const Benchmark& benchmark : with_likelihood(name, title)) {
      with_evaluation(report, run_dir, benchmark.name, [&](const json& figures) {
        for (const auto& [language, of] : figures.at("languages").items()) {
          const std::string in_language = language_name(language) + benchmark.label;
          if (name == std::string("mme")) report.scores.push_back(table_of(in_language, of));
          if (of.contains("samples")) add_samples(report, fmt::format("{}, {}", title, in_language), of);
        }
      });
    }
  }
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
  for (const Benchmark& benchmark : with_likelihood("pope", "POPE")) {
    with_evaluation(report, run_dir, benchmark.name, [&](const json& figures) {
      for (const auto& [language, of] : figures.at("languages").items())
        add_pope(report, of, label, language, benchmark);
    });
  }
  for (const Benchmark& benchmark : with_likelihood("mmbench", "MMBench")) {
    with_evaluation(report, run_dir, benchmark.name, [&](const json& figures) {
      for (const auto& [language, of] : figures.at("languages").items()) {
        add_mmbench(report, of,
                    fmt::format("{}: MMBench, circular, {}{}", label, language_name(language), benchmark.label));
      }
    });
  }
  with_evaluation(report, run_dir, "answers", [&](const json& figures) {
    add_kinds(report, figures, label + ": answers right word for word", "");
  });
}

double goal_of(const std::string& name) {
  const auto goal = goals.find(name);
  return goal == goals.end() ? std::numeric_limits<double>::quiet_NaN() : goal->second;
}

}  // namespace skymm
