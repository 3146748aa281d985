#include "launch/evaluation/live_evaluation.hpp"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.hpp"
#include "core/log.hpp"
#include "io/file.hpp"
#include "launch/evaluation/choice_answers.hpp"
#include "launch/evaluation/language.hpp"
#include "launch/evaluation/mme_answers.hpp"

namespace skymm {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Of questions that belong together by `key`, as those about one picture do, the first so many lots; 0: all.
template <class Question, class Key>
void keep_first(std::vector<Question>& questions, std::size_t lots, Key key) {
  if (lots == 0) return;
  std::set<std::decay_t<decltype(key(questions.front()))>> kept;
  std::erase_if(questions, [&](const Question& question) {
    if (kept.size() < lots) kept.insert(key(question));
    return !kept.contains(key(question));
  });
}

}  // namespace

struct LiveEvaluation::Findings {
  std::string name;  // of the set
  Figures figures;
  json answers = json::array();
  std::vector<Unasked> unasked;                                              // numbered as the answers are
  std::vector<std::pair<std::string, std::vector<MmeResult>>> result_files;  // <language>/<task>.txt

  // group: behind the set's name, such as "_accuracy".
  void add_figure(const std::string& group, const std::string& figure, double value) {
    figures.emplace_back(fmt::format("{}{}/{}", name, group, figure), value);
  }
  void add_answer(const std::string& question, const std::string& truth, const std::string& answer) {
    answers.push_back({{"question", question}, {"truth", truth}, {"answer", answer}});
  }
  // Of the answers that are added next.
  void add_unasked(const std::vector<Unasked>& more) {
    for (const Unasked& one : more) unasked.push_back({one.question + answers.size(), one.why});
  }
};

class LiveEvaluation::Benchmark {
 public:
  Benchmark() = default;
  virtual ~Benchmark() = default;
  Benchmark(const Benchmark&) = delete;
  Benchmark& operator=(const Benchmark&) = delete;
  // False: who.stop ended it.
  virtual bool ask(const Answerer& who, Communicator& ranks, Findings& findings) const = 0;
};

namespace {

class Mme final : public LiveEvaluation::Benchmark {
 public:
  Mme(const std::string& dir, std::size_t pictures) {
    for (const LanguageSet& set : language_sets(dir)) parts_.push_back({set.language, read_mme(set.path)});
    for (Part& part : parts_) {
      for (MmeTask& task : part.tasks) {
        keep_first(task.questions, pictures, [](const MmeQuestion& question) { return question.picture; });
      }
    }
  }

  bool ask(const Answerer& who, Communicator& ranks, LiveEvaluation::Findings& findings) const override {
    for (const auto& [name, tasks] : parts_) {
      const MmeAnswers answers = answer_mme(who, ranks, tasks);
      if (answers.stopped) return false;
      findings.add_unasked(answers.unasked);
      std::vector<MmeScore> scores;
      for (std::size_t t = 0; t < tasks.size(); ++t) {
        scores.push_back(score_mme(tasks[t].name, answers.results[t]));
        for (const MmeResult& result : answers.results[t]) {
          findings.add_answer(result.question, result.truth, result.response);
        }
      }
      const MmeScore total = total_mme(scores);
      const std::string language = !name.empty() ? name : total.rule == MmeRule::chinese ? "zh" : "en";
      const MmeSum perception = sum_mme(scores, MmeGroup::perception), cognition = sum_mme(scores, MmeGroup::cognition);
      if (perception.tasks > 0) findings.add_figure("", "perception_" + language, perception.score);
      if (cognition.tasks > 0) findings.add_figure("", "cognition_" + language, cognition.score);
      findings.add_figure("_accuracy", language, total.acc());
      for (std::size_t t = 0; t < tasks.size(); ++t) {
        findings.result_files.emplace_back(fmt::format("{}/{}.txt", language, tasks[t].name), answers.results[t]);
      }
    }
    return true;
  }

 private:
  struct Part {
    std::string language;  // "": the true answers tell
    std::vector<MmeTask> tasks;
  };
  std::vector<Part> parts_;
};

// Behind a figure's name, where a set comes in several languages: "_en".
std::string suffix_of(const LanguageSet& set) { return set.language.empty() ? "" : "_" + set.language; }

class Mmbench final : public LiveEvaluation::Benchmark {
 public:
  Mmbench(const std::string& path, std::size_t lots) {
    for (const LanguageSet& set : mmbench_tables(path)) tables_.push_back({set, places_of(set.path, lots)});
  }

  bool ask(const Answerer& who, Communicator& ranks, LiveEvaluation::Findings& findings) const override {
    for (const Table& table : tables_) {
      const std::vector<MmbenchQuestion> questions = read_again(table, ranks);
      const SharedAnswers answers = answer_mmbench(who, ranks, questions);
      if (answers.stopped) return false;
      findings.add_unasked(answers.unasked);
      for (std::size_t i = 0; i < questions.size(); ++i) {
        findings.add_answer(questions[i].prompt, std::string(1, questions[i].answer), answers.texts[i]);
      }
      const MmbenchScore score = score_mmbench(questions, answers.texts).all;
      findings.add_figure("", "circular" + suffix_of(table.set), score.accuracy());
      findings.add_figure("", "each_rotation" + suffix_of(table.set), score.plain_accuracy());
    }
    return true;
  }

 private:
  using Places = std::vector<std::int64_t>;  // of each row, among the questions that are asked; -1: it is not
  struct Table {
    LanguageSet set;
    Places places;
  };

  static Places places_of(const std::string& path, std::size_t lots) {
    const std::vector<MmbenchQuestion> all = read_mmbench_table(path, [](std::size_t) { return false; });
    std::vector<MmbenchQuestion> kept = all;
    keep_first(kept, lots, [](const MmbenchQuestion& question) { return question.index % mmbench_rotation; });
    Places places;
    auto next = kept.begin();
    for (const MmbenchQuestion& question : all) {
      const bool asked = next != kept.end() && next->index == question.index;
      places.push_back(asked ? next++ - kept.begin() : -1);
    }
    return places;
  }

  // The pictures are read anew each time: kept, they would lie in memory that training needs.
  static std::vector<MmbenchQuestion> read_again(const Table& table, const Communicator& ranks) {
    const Places& places = table.places;
    const auto is_mine = [&](std::size_t row) {
      return row < places.size() && places[row] >= 0 && places[row] % ranks.size() == ranks.rank();
    };
    std::vector<MmbenchQuestion> rows = read_mmbench_table(table.set.path, is_mine), questions;
    check(rows.size() == places.size(), "{} had {} questions when training began, and has {} now", table.set.path,
          places.size(), rows.size());
    for (std::size_t row = 0; row < rows.size(); ++row) {
      if (places[row] >= 0) questions.push_back(std::move(rows[row]));
    }
    return questions;
  }

  std::vector<Table> tables_;
};

class Pope final : public LiveEvaluation::Benchmark {
 public:
  Pope(const std::string& path, const std::string& images, std::size_t pictures) {
    for (const LanguageSet& set : language_sets(path)) {
      Part part{set, pope_pictures(path, set, images), read_pope_splits(set.path)};
      for (PopeSplit& split : part.splits) {
        keep_first(split.questions, pictures, [](const PopeQuestion& question) { return question.image; });
      }
      parts_.push_back(std::move(part));
    }
  }

  bool ask(const Answerer& who, Communicator& ranks, LiveEvaluation::Findings& findings) const override {
    for (const auto& [set, images, splits] : parts_) {
      for (const PopeSplit& split : splits) {
        const SharedAnswers answers = answer_pope(who, ranks, split, images);
        if (answers.stopped) return false;
        findings.add_unasked(answers.unasked);
        for (std::size_t i = 0; i < answers.texts.size(); ++i) {
          const PopeQuestion& question = split.questions[i];
          findings.add_answer(question.text, question.yes ? "yes" : "no", answers.texts[i]);
        }
        const PopeScore score = score_pope(split, answers.texts);
        const auto add = [&](const char* figure, double value) {
          findings.add_figure("", fmt::format("{}_{}{}", split.name, figure, suffix_of(set)), value);
        };
        add("accuracy", score.accuracy());
        add("f1", score.f1());
        add("yes_ratio", score.yes_ratio());
      }
    }
    return true;
  }

 private:
  struct Part {
    LanguageSet set;
    std::string images;  // the folder
    std::vector<PopeSplit> splits;
  };
  std::vector<Part> parts_;
};

}  // namespace

LiveEvaluation::LiveEvaluation(const TrainConfig& config) : run_dir_(config.run.dir) {
  const auto limit = static_cast<std::size_t>(config.train.evaluate_limit);
  for (EvaluationSet& set : evaluation_sets(config.data)) {
    std::unique_ptr<Benchmark> benchmark;
    if (set.kind == "mme") benchmark = std::make_unique<Mme>(set.path, limit);
    if (set.kind == "mmbench") benchmark = std::make_unique<Mmbench>(set.path, limit);
    if (set.kind == "pope") benchmark = std::make_unique<Pope>(set.path, config.data.evaluation_images, limit);
    sets_.emplace_back(std::move(set), std::move(benchmark));
  }
}

LiveEvaluation::~LiveEvaluation() = default;

std::optional<LiveEvaluation::Figures> LiveEvaluation::ask(const Answerer& who, Communicator& ranks,
                                                           std::int64_t step) const {
  Figures all;
  for (const auto& [set, benchmark] : sets_) {
    Findings findings{.name = set.name};
    if (!benchmark->ask(who, ranks, findings)) return std::nullopt;
    all.insert(all.end(), findings.figures.begin(), findings.figures.end());
    if (ranks.rank() == 0) write(set, findings, step);
  }
  return all;
}

// That a disk is full is no reason to end a training that could go on.
void LiveEvaluation::write(const EvaluationSet& set, const Findings& findings, std::int64_t step) const {
  warn_of_unasked(findings.unasked, findings.answers.size());
  const std::string folder = fmt::format("{}/eval/step_{:08}", run_dir_, step);
  json page = {{"kind", set.kind}, {"data", set.path}, {"step", step}, {"figures", json::object()}};
  for (const auto& [name, value] : findings.figures) page["figures"][name] = value;
  page["unasked"] = figures_of(findings.unasked);
  page["answers"] = findings.answers;
  try {
    fs::create_directories(folder);
    write_file(fmt::format("{}/{}.json", folder, set.name),
               page.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
    for (const auto& [name, results] : findings.result_files) {
      const fs::path path = fs::path(folder) / set.name / name;
      fs::create_directories(path.parent_path());
      write_mme_results(path.string(), results);
    }
  } catch (const std::exception& error) {
    log::warn("the answers after step {} are not all in {}: {}", step, folder, error.what());
  }
}

}  // namespace skymm
