// skymm eval mmbench and pope.
#include <fmt/ranges.h>

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <tuple>

#include "core/error.hpp"
#include "io/file.hpp"
#include "launch/evaluation/choice_answers.hpp"
#include "launch/evaluation/evaluation.hpp"
#include "launch/evaluation/language.hpp"
#include "parallel/communicator.hpp"

namespace skymm {
namespace {

using nlohmann::json;

namespace fs = std::filesystem;

std::string text_of(const Arguments& arguments, const char* name) {
  return arguments.get(
      name, [](const std::string& value) { return value; }, std::string());
}

std::string default_results(const Arguments& arguments, const std::string& name) {
  return arguments.find("results") != nullptr ? arguments.required("results")
                                              : fmt::format("{}/eval/{}", arguments.required("run"), name);
}

// ---- mmbench

json figures_of(const MmbenchScore& score) {
  json figures = {{"name", score.name},           {"questions", score.questions},
                  {"right", score.right},         {"accuracy", score.accuracy()},
                  {"rotations", score.rotations}, {"rotations_right", score.rotations_right}};
  if (!score.l2.empty()) figures["l2"] = score.l2;
  return figures;
}

json figures_of(const MmbenchScores& scores) {
  json figures = {{"all", figures_of(scores.all)}, {"l2", json::array()}, {"l3", json::array()}};
  for (const MmbenchScore& score : scores.l2) figures["l2"].push_back(figures_of(score));
  for (const MmbenchScore& score : scores.l3) figures["l3"].push_back(figures_of(score));
  figures["unread"] = scores.unread;
  for (std::size_t i = 0; i < scores.chosen.size(); ++i)
    figures["chosen"][std::string(1, static_cast<char>('A' + i))] = scores.chosen[i];
  return figures;
}

// Of the questions and options: the prompt's frame is English in both languages.
const char* code_of(const std::vector<MmbenchQuestion>& questions) {
  std::string text;
  for (const MmbenchQuestion& question : questions)
    text += fmt::format("{}\n{}\n", question.question, fmt::join(question.options, "\n"));
  return code_of(language_of(text));
}

json samples_of(const MmbenchResults& results) {
  json all = json::array();
  for (std::size_t i = 0; i < results.questions.size(); ++i) {
    const MmbenchQuestion& question = results.questions[i];
    const char choice = read_choice(results.answers[i], question.options);
    all.push_back({{"task", question.category},
                   {"index", question.index},
                   {"question", question.prompt},
                   {"truth", std::string(1, question.answer)},
                   {"answer", results.answers[i]},
                   {"read", choice == '\0' ? "" : std::string(1, choice)},
                   {"right", choice == question.answer}});
  }
  return all;
}

int score_mmbench_files(const std::string& path) {
  json languages = json::object();
  for (const LanguageSet& set : mmbench_tables(path)) {
    const MmbenchResults results = read_mmbench_results(set.path);
    const MmbenchScores scores = score_mmbench(results.questions, results.answers);
    std::printf("%s\n%s\n", set.path.c_str(), format_mmbench(scores).c_str());
    json& figures = languages[set.language.empty() ? code_of(results.questions) : set.language];
    figures = figures_of(scores);
    figures["results"] = set.path;
  }
  write_scores(path, languages);
  return 0;
}

int eval_mmbench(const Arguments& arguments) {
  if (scores_results(arguments, {"after", "tokens", "device", "by"})) {
    const std::unique_ptr<Communicator> ranks = world();
    return ranks->rank() == 0 ? score_mmbench_files(arguments.required("results")) : 0;
  }
  const std::string dir = arguments.required("run"), data = arguments.required("data");
  const std::string after = text_of(arguments, "after");
  const AnswerBy by = arguments.get("by", parse_answer_by, AnswerBy::generation);
  const std::string name = figures_name("mmbench", by), results_dir = default_results(arguments, name);
  const int tokens =
      static_cast<int>(arguments.get("tokens", parse_positive, std::int64_t{ChoiceOptions().max_tokens}));
  if (by == AnswerBy::likelihood && arguments.find("tokens") != nullptr)
    fail_usage("--tokens goes with --by generation: by likelihood no answer is generated");
  const std::unique_ptr<Communicator> ranks = world();
  // Each rank keeps the pictures of its own questions only.
  const auto size = static_cast<std::size_t>(ranks->size()), rank = static_cast<std::size_t>(ranks->rank());
  std::vector<std::pair<LanguageSet, std::vector<MmbenchQuestion>>> sets;
  for (const LanguageSet& set : mmbench_tables(data)) {
    sets.emplace_back(set, read_mmbench_table(set.path, [&](std::size_t i) { return i % size == rank; }));
  }
  Run run = open_to_evaluate(arguments, true, *ranks);
  json languages = json::object();
  for (auto& [set, questions] : sets) {
    SharedAnswers answers = answer_mmbench(run, *ranks, questions, {.after = after, .max_tokens = tokens, .by = by});
    if (ranks->rank() != 0) continue;
    const json left_out = report_unasked(answers.unasked, questions.size());
    const MmbenchResults results{std::move(questions), std::move(answers.texts)};
    const MmbenchScores scores = score_mmbench(results.questions, results.answers);
    const std::string language = set.language.empty() ? code_of(results.questions) : set.language;
    std::printf("MMBench %s%s\n%s\n", language.c_str(), label_of(by).c_str(), format_mmbench(scores).c_str());
    fs::create_directories(results_dir);
    write_mmbench_results(fmt::format("{}/{}.tsv", results_dir, language), results);
    json& figures = languages[language];
    figures = figures_of(scores);
    figures.update({{"data", set.path}, {"by", name_of(by)}, {"after", after}});
    figures["samples"] = samples_of(results);
    figures["unasked"] = left_out;
  }
  if (ranks->rank() == 0) write_languages(fmt::format("{}/eval/{}.json", dir, name), languages);
  return 0;
}

// ---- pope

json figures_of(const PopeScore& score) {
  return {{"split", score.split},           {"questions", score.questions()}, {"accuracy", score.accuracy()},
          {"precision", score.precision()}, {"recall", score.recall()},       {"f1", score.f1()},
          {"yes_ratio", score.yes_ratio()}, {"true_yes", score.true_yes},     {"false_yes", score.false_yes},
          {"true_no", score.true_no},       {"false_no", score.false_no}};
}

json figures_of(const std::vector<PopeScore>& scores) {
  json figures = {{"rule", name_of(scores.front().rule)}, {"splits", json::array()}};
  for (const PopeScore& score : scores) figures["splits"].push_back(figures_of(score));
  return figures;
}

const char* code_of(PopeRule rule) {
  return code_of(rule == PopeRule::chinese ? Language::chinese : Language::english);
}

json samples_of(const std::vector<PopeResults>& splits, const std::string& images) {
  json all = json::array();
  for (const auto& [split, answers] : splits) {
    const bool chinese = split.rule == PopeRule::chinese;
    for (std::size_t i = 0; i < answers.size(); ++i) {
      const PopeQuestion& question = split.questions[i];
      const char* truth = question.yes ? chinese ? "是" : "yes" : chinese ? "否" : "no";
      all.push_back({{"task", split.name},
                     {"image", picture_of(question, images)},
                     {"question", question.text},
                     {"truth", truth},
                     {"answer", answers[i]},
                     {"right", pope_says_yes(answers[i], split.rule) == question.yes}});
    }
  }
  return all;
}

std::vector<PopeScore> scores_of(const std::vector<PopeResults>& splits) {
  std::vector<PopeScore> scores;
  for (const auto& [split, answers] : splits) scores.push_back(score_pope(split, answers));
  return scores;
}

int score_pope_files(const std::string& path) {
  json languages = json::object();
  for (const LanguageSet& set : language_sets(path)) {
    const std::vector<PopeScore> scores = scores_of(read_pope_results(set.path));
    std::printf("%s\n%s\n", set.path.c_str(), format_pope(scores).c_str());
    json& figures = languages[set.language.empty() ? code_of(scores.front().rule) : set.language];
    figures = figures_of(scores);
    figures["results"] = set.path;
  }
  write_scores(path, languages);
  return 0;
}

int eval_pope(const Arguments& arguments) {
  if (scores_results(arguments, {"images", "after", "limit", "device", "by"})) {
    const std::unique_ptr<Communicator> ranks = world();
    return ranks->rank() == 0 ? score_pope_files(arguments.required("results")) : 0;
  }
  const std::string dir = arguments.required("run"), data = arguments.required("data");
  const std::string images = text_of(arguments, "images");
  const std::string after = text_of(arguments, "after");
  const AnswerBy by = arguments.get("by", parse_answer_by, AnswerBy::generation);
  const std::string name = figures_name("pope", by), results_dir = default_results(arguments, name);
  const auto limit = static_cast<std::size_t>(arguments.get("limit", parse_count, std::int64_t{0}));
  const std::unique_ptr<Communicator> ranks = world();
  std::vector<std::tuple<LanguageSet, std::string, std::vector<PopeSplit>>> sets;
  for (const LanguageSet& set : language_sets(data)) {
    sets.emplace_back(set, pope_pictures(data, set, images), read_pope_splits(set.path));
  }
  Run run = open_to_evaluate(arguments, true, *ranks);
  json languages = json::object();
  for (auto& [set, pictures, splits] : sets) {
    std::vector<PopeResults> results;
    json left_out;
    for (PopeSplit& split : splits) {
      if (limit > 0 && split.questions.size() > limit) split.questions.resize(limit);
      SharedAnswers answers = answer_pope(run, *ranks, split, pictures, {.after = after, .by = by});
      if (ranks->rank() == 0) left_out[split.name] = report_unasked(answers.unasked, split.questions.size());
      results.push_back({std::move(split), std::move(answers.texts)});
    }
    if (ranks->rank() != 0) continue;
    const std::vector<PopeScore> scores = scores_of(results);
    const std::string language = set.language.empty() ? code_of(scores.front().rule) : set.language;
    std::printf("POPE %s%s\n%s\n", language.c_str(), label_of(by).c_str(), format_pope(scores).c_str());
    const std::string folder = fmt::format("{}/{}", results_dir, language);
    fs::create_directories(folder);
    for (const PopeResults& each : results)
      write_pope_results(fmt::format("{}/{}.jsonl", folder, each.split.name), each);
    json& figures = languages[language];
    figures = figures_of(scores);
    figures.update({{"data", set.path}, {"by", name_of(by)}, {"after", after}, {"limit", limit}});
    figures["samples"] = samples_of(results, pictures);
    figures["unasked"] = left_out;
  }
  if (ranks->rank() == 0) write_languages(fmt::format("{}/eval/{}.json", dir, name), languages);
  return 0;
}

}  // namespace

int mmbench_command(const std::vector<std::string>& words) {
  return evaluate(
      "mmbench",
      "skymm eval mmbench --run DIR --data PATH [--by generation|likelihood] [--results DIR]\n"
      "skymm eval mmbench --results PATH\n\n"
      "Asks MMBench's multiple-choice questions, each once for every rotation of its options; a question is right if\n"
      "every rotation is. Where the table has no rotations, they are made. The option is read from the answer without\n"
      "a judge: a letter alone, \"answer is X\", or the one option's text. By likelihood it is the letter that the\n"
      "model holds most likely. Or scores tables of results that exist already.\n\n"
      "  skymm eval mmbench --run runs/stage2 --data mmbench_dev_20230712.tsv\n"
      "  skymm eval mmbench --results runs/stage2/eval/mmbench\n",
      {run_flag,
       device_flag,
       {"data", "PATH",
        "MMBench's TSV with pictures in base64 and answers: the dev split; or a folder with one in each language, "
        "named as mmbench_dev_en.tsv and mmbench_dev_cn.tsv"},
       {"results", "PATH",
        "with --run: the folder where en.tsv and zh.tsv of the results go, default RUN/eval/mmbench "
        "(mmbench_by_likelihood); alone: what to score, such a folder or a table with a column \"prediction\", whose "
        "figures go to scores.json beside"},
       by_flag,
       {"after", "TEXT", "put behind each question, such as \"Answer with the option's letter.\"; default none"},
       {"tokens", "N", "of an answer at most, by generation; default 16"}},
      words, eval_mmbench);
}

int pope_command(const std::vector<std::string>& words) {
  return evaluate(
      "pope",
      "skymm eval pope --run DIR --data PATH [--images DIR] [--by generation|likelihood] [--results DIR] [--limit N]\n"
      "skymm eval pope --results PATH\n\n"
      "Asks POPE's yes/no questions about objects, which measure hallucination. Yes is the positive answer. Or scores\n"
      "result files that exist already. The rule is POPE's own; answers to questions in Chinese are read by a rule of\n"
      "this project, which is no part of POPE.\n\n"
      "  skymm eval pope --run runs/stage2 --data pope/coco --images val2014\n"
      "  skymm eval pope --results runs/stage2/eval/pope\n",
      {run_flag,
       device_flag,
       {"data", "PATH",
        "one of POPE's files, or a folder with those of random, popular and adversarial, or one that has such folders "
        "named en and zh"},
       {"images", "DIR",
        "folder of the pictures, or of their folders en and zh; default DATA/images where there is one"},
       {"results", "PATH",
        "with --run: where result files go, default RUN/eval/pope (pope_by_likelihood); alone: what to score, files or "
        "folders as those of --data whose lines have \"answer\" too; the figures go to scores.json beside"},
       by_flag,
       {"after", "TEXT", "put behind each question, such as \"Please answer yes or no.\"; default none"},
       {"limit", "N", "questions of each split; default 0: all"}},
      words, eval_pope);
}

}  // namespace skymm
