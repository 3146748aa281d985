// skymm eval mmbench and pope.
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "io/file.hpp"
#include "launch/evaluation/choice_answers.hpp"
#include "launch/evaluation/evaluation.hpp"
#include "parallel/communicator.hpp"

namespace skymm {
namespace {

using nlohmann::json;

// ---- mmbench

json figures_of(const MmbenchScore& score) {
  return {{"name", score.name},           {"questions", score.questions}, {"right", score.right},
          {"accuracy", score.accuracy()}, {"rotations", score.rotations}, {"rotations_right", score.rotations_right}};
}

json figures_of(const MmbenchScores& scores) {
  json figures = {{"all", figures_of(scores.all)}, {"l2", json::array()}, {"unread", scores.unread}};
  for (const MmbenchScore& score : scores.l2) figures["l2"].push_back(figures_of(score));
  return figures;
}

int eval_mmbench(const Arguments& arguments) {
  const std::string dir = arguments.required("run"), data = arguments.required("data");
  const auto text = [](const std::string& value) { return value; };
  const std::string after = arguments.get("after", text, std::string());
  const int tokens = static_cast<int>(arguments.get("tokens", parse_positive, std::int64_t{choice_tokens}));
  const std::unique_ptr<Communicator> ranks = world();
  // Each rank keeps the pictures of its own questions only.
  const auto size = static_cast<std::size_t>(ranks->size()), rank = static_cast<std::size_t>(ranks->rank());
  const std::vector<MmbenchQuestion> questions =
      read_mmbench_table(data, [&](std::size_t i) { return i % size == rank; });
  Run run = open_to_evaluate(arguments, true, *ranks);
  const auto [answers, unasked, stopped] = answer_mmbench(run, *ranks, questions, after, tokens);
  if (ranks->rank() != 0) return 0;
  const MmbenchScores scores = score_mmbench(questions, answers);
  std::printf("%s", format_mmbench(scores).c_str());
  json figures = figures_of(scores), all = json::array();
  figures["unasked"] = report_unasked(unasked, questions.size());
  figures["run"] = dir, figures["data"] = data, figures["after"] = after;
  std::string rows = "index\tprediction\tread\tanswer\n";
  for (std::size_t i = 0; i < questions.size(); ++i) {
    std::string answer = answers[i];
    for (char& c : answer) c = c == '\t' || c == '\n' || c == '\r' ? ' ' : c;
    const char choice = read_choice(answers[i], questions[i].options);
    rows += fmt::format("{}\t{}\t{}\t{}\n", questions[i].index, answer, choice ? choice : '-', questions[i].answer);
    all.push_back({{"index", questions[i].index},
                   {"question", questions[i].prompt},
                   {"truth", std::string(1, questions[i].answer)},
                   {"answer", answers[i]}});
  }
  figures["samples"] = shown_samples(all);
  write_figures(dir, "mmbench", figures);
  write_file(dir + "/eval/mmbench.tsv", rows);
  return 0;
}

// ---- pope

json figures_of(const PopeScore& score) {
  return {{"split", score.split},           {"questions", score.questions()}, {"accuracy", score.accuracy()},
          {"precision", score.precision()}, {"recall", score.recall()},       {"f1", score.f1()},
          {"yes_ratio", score.yes_ratio()}, {"true_yes", score.true_yes},     {"false_yes", score.false_yes},
          {"true_no", score.true_no},       {"false_no", score.false_no}};
}

int eval_pope(const Arguments& arguments) {
  const std::string dir = arguments.required("run"), data = arguments.required("data");
  const auto text = [](const std::string& value) { return value; };
  const std::string images = arguments.required("images"), after = arguments.get("after", text, std::string());
  const auto limit = static_cast<std::size_t>(arguments.get("limit", parse_count, std::int64_t{0}));
  const std::unique_ptr<Communicator> ranks = world();
  std::vector<PopeSplit> splits = read_pope_splits(data);
  Run run = open_to_evaluate(arguments, true, *ranks);
  std::vector<PopeScore> scores;
  json figures = {{"run", dir}, {"data", data}, {"after", after}, {"splits", json::array()}}, all = json::array();
  for (PopeSplit& split : splits) {
    if (limit > 0 && split.questions.size() > limit) split.questions.resize(limit);
    const auto [answers, unasked, stopped] = answer_pope(run, *ranks, split, images, after);
    scores.push_back(score_pope(split, answers));
    figures["splits"].push_back(figures_of(scores.back()));
    if (ranks->rank() == 0) figures["splits"].back()["unasked"] = report_unasked(unasked, split.questions.size());
    for (std::size_t i = 0; i < answers.size(); ++i) {
      const PopeQuestion& question = split.questions[i];
      all.push_back({{"split", split.name},
                     {"image", (std::filesystem::path(images) / question.image).string()},
                     {"question", question.text},
                     {"truth", question.yes ? "yes" : "no"},
                     {"answer", answers[i]}});
    }
  }
  if (ranks->rank() != 0) return 0;
  std::printf("%s", format_pope(scores).c_str());
  figures["samples"] = shown_samples(all);
  write_figures(dir, "pope", figures);
  return 0;
}

}  // namespace

int mmbench_command(const std::vector<std::string>& words) {
  return evaluate(
      "mmbench",
      "skymm eval mmbench --run DIR --data FILE\n\n"
      "Asks MMBench's multiple-choice questions, each once for every rotation of its options; a question is right if\n"
      "every rotation is. Where the table has no rotations, they are made. The option is read from the answer without\n"
      "a judge: a letter alone, \"answer is X\", or the one option's text. The answers go to RUN/eval/mmbench.tsv.\n\n"
      "  skymm eval mmbench --run runs/stage2 --data mmbench_dev_20230712.tsv\n",
      {run_flag,
       device_flag,
       {"data", "FILE", "MMBench's TSV with pictures in base64 and answers: the dev split"},
       {"after", "TEXT", "put behind each question, such as \"Answer with the option's letter.\"; default none"},
       {"tokens", "N", "of an answer at most; default 16"}},
      words, eval_mmbench);
}

int pope_command(const std::vector<std::string>& words) {
  return evaluate(
      "pope",
      "skymm eval pope --run DIR --data PATH --images DIR [--limit N]\n\n"
      "Asks POPE's yes/no questions about objects, which measure hallucination. Yes is the positive answer.\n\n"
      "  skymm eval pope --run runs/stage2 --data pope/coco --images val2014\n",
      {run_flag,
       device_flag,
       {"data", "PATH", "one of POPE's files, or a folder with those of random, popular and adversarial"},
       {"images", "DIR", "folder of the pictures"},
       {"after", "TEXT", "put behind each question, such as \"Please answer yes or no.\"; default none"},
       {"limit", "N", "questions of each split; default 0: all"}},
      words, eval_pope);
}

}  // namespace skymm
