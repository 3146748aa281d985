#include "launch/eval_command.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "io/dataset.hpp"
#include "launch/command.hpp"
#include "launch/config/options.hpp"
#include "launch/evaluation/answer_accuracy.hpp"
#include "launch/evaluation/caption_names.hpp"
#include "launch/evaluation/evaluation.hpp"
#include "launch/evaluation/language.hpp"
#include "launch/evaluation/mme_answers.hpp"
#include "parallel/communicator.hpp"
#include "parallel/gather_text.hpp"

namespace skymm {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Words = std::vector<std::string>;

// ---- mme

json figures_of(const MmeScore& score) {
  return {{"task", score.task},
          {"questions", score.questions},
          {"pictures", score.pictures},
          {"acc", score.acc()},
          {"acc_plus", score.acc_plus()},
          {"score", score.score()},
          {"yes_ratio", score.yes_ratio()},
          {"said_yes", score.said_yes},
          {"said_other", score.said_other}};
}

json figures_of(const MmeSum& sum) {
  return {{"score", sum.score}, {"most", 200 * sum.tasks}, {"tasks", sum.tasks}, {"all_tasks", sum.all_tasks}};
}

json figures_of(const std::vector<MmeScore>& scores) {
  const MmeScore total = total_mme(scores);
  json figures = {{"rule", name_of(total.rule)},
                  {"tasks", json::array()},
                  {"total", figures_of(total)},
                  {"perception", figures_of(sum_mme(scores, MmeGroup::perception))},
                  {"cognition", figures_of(sum_mme(scores, MmeGroup::cognition))}};
  figures["total"].erase("score");  // MME has no such sum
  for (const MmeScore& score : scores) figures["tasks"].push_back(figures_of(score));
  return figures;
}

json samples_of(const std::vector<MmeTask>& tasks, const std::vector<std::vector<MmeResult>>& results) {
  json all = json::array();
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    for (std::size_t q = 0; q < results[t].size(); ++q) {
      all.push_back({{"task", tasks[t].name},
                     {"image", tasks[t].questions[q].path},
                     {"question", results[t][q].question},
                     {"truth", results[t][q].truth},
                     {"answer", results[t][q].response},
                     {"right", is_right(results[t][q])}});
    }
  }
  return all;
}

const char* code_of(const std::vector<MmeScore>& scores) {
  return code_of(scores[0].rule == MmeRule::chinese ? Language::chinese : Language::english);
}

int score_result_files(const std::string& dir) {
  json languages = json::object();
  for (const LanguageSet& set : language_sets(dir)) {
    const std::vector<MmeScore> scores = score_mme_folder(set.path);
    std::printf("%s\n%s\n", set.path.c_str(), format_mme(scores).c_str());
    json& figures = languages[set.language.empty() ? code_of(scores) : set.language];
    figures = figures_of(scores);
    figures["results"] = set.path;
  }
  write_scores(dir, languages);
  return 0;
}

int eval_mme(const Arguments& arguments) {
  if (scores_results(arguments, {"limit", "device", "by"})) {
    const std::unique_ptr<Communicator> ranks = world();
    return ranks->rank() == 0 ? score_result_files(arguments.required("results")) : 0;
  }
  const std::string dir = arguments.required("run"), data = arguments.required("data");
  const AnswerBy by = arguments.get("by", parse_answer_by, AnswerBy::generation);
  const std::string name = figures_name("mme", by);
  const std::string results_dir =
      arguments.find("results") != nullptr ? arguments.required("results") : fmt::format("{}/eval/{}", dir, name);
  const auto limit = static_cast<std::size_t>(arguments.get("limit", parse_count, std::int64_t{0}));
  const std::unique_ptr<Communicator> ranks = world();
  std::vector<std::pair<LanguageSet, std::vector<MmeTask>>> sets;
  for (const LanguageSet& set : language_sets(data)) {
    std::vector<MmeTask> tasks = read_mme(set.path);
    for (MmeTask& task : tasks) {
      if (limit > 0 && task.questions.size() > 2 * limit) task.questions.resize(2 * limit);
    }
    sets.emplace_back(set, std::move(tasks));
  }
  Run run = open_to_evaluate(arguments, true, *ranks);
  json languages = json::object();
  for (const auto& [set, tasks] : sets) {
    const auto [results, unasked, stopped] = answer_mme(run, *ranks, tasks, by);
    if (ranks->rank() != 0) continue;
    std::vector<MmeScore> scores;
    for (std::size_t t = 0; t < tasks.size(); ++t) scores.push_back(score_mme(tasks[t].name, results[t]));
    const json left_out = report_unasked(unasked, static_cast<std::size_t>(total_mme(scores).questions));
    const std::string language = set.language.empty() ? code_of(scores) : set.language;
    const std::string folder = fmt::format("{}/{}", results_dir, language);
    fs::create_directories(folder);
    for (std::size_t t = 0; t < tasks.size(); ++t) {
      write_mme_results(fmt::format("{}/{}.txt", folder, tasks[t].name), results[t]);
    }
    std::printf("MME %s%s\n%s\n", language.c_str(), label_of(by).c_str(), format_mme(scores).c_str());
    json& figures = languages[language];
    figures = figures_of(scores);
    figures.update({{"data", set.path}, {"by", name_of(by)}, {"limit", limit}});
    figures["samples"] = samples_of(tasks, results);
    figures["unasked"] = left_out;
  }
  if (ranks->rank() == 0) write_languages(fmt::format("{}/eval/{}.json", dir, name), languages);
  return 0;
}

// ---- scenes and answers

json to_json(const AnswerTable& table) {
  json kinds = json::array();
  for (const auto& [kind, count] : table) {
    kinds.push_back({{"task", kind.task},
                     {"language", code_of(kind.language)},
                     {"form", kind.yes_no ? "yes/no" : "open"},
                     {"asked", count.asked},
                     {"right", count.right},
                     {"said_yes", count.said_yes},
                     {"accuracy", count.accuracy()}});
  }
  return kinds;
}

void add(AnswerTable& table, const json& kinds) {
  for (const json& kind : kinds) {
    AnswerCount& count = table[{kind.at("task"), kind.at("language") == "zh" ? Language::chinese : Language::english,
                                kind.at("form") == "yes/no"}];
    count.asked += kind.at("asked").get<std::int64_t>();
    count.right += kind.at("right").get<std::int64_t>();
    count.said_yes += kind.at("said_yes").get<std::int64_t>();
  }
}

std::vector<Sample> share_of(std::vector<Sample> samples, const Communicator& ranks) {
  std::vector<Sample> mine;
  for (auto i = static_cast<std::size_t>(ranks.rank()); i < samples.size(); i += static_cast<std::size_t>(ranks.size()))
    mine.push_back(std::move(samples[i]));
  return mine;
}

// `mine` is this rank's share of the samples. Prints and writes on rank 0; `figures` says what was asked.
void report_answers(Run& run, Communicator& ranks, const std::vector<Sample>& mine, const std::string& dir,
                    const std::string& name, json figures) {
  const AnswerTable own =
      answer_accuracy(*run.assembly.model, run.assembly.prompts(run.config), run.assembly.images, mine);
  AnswerTable table;
  for (const std::string& text : gather_text(ranks, to_json(own).dump())) add(table, json::parse(text));
  if (ranks.rank() != 0) return;
  std::printf("%s\n", format_table(table).c_str());
  figures["kinds"] = to_json(table);
  figures["totals"] = json::array();
  for (const Language language : asked_languages) {
    for (const bool yes_no : {true, false}) {
      const AnswerCount sum = total(table, language, yes_no);
      if (sum.asked == 0) continue;
      const char* form = yes_no ? "yes/no" : "open";
      json line = {{"language", code_of(language)}, {"form", form}, {"asked", sum.asked}, {"right", sum.right}};
      line["accuracy"] = sum.accuracy();
      std::printf("total %s %-7s %6.1f%% of %lld", code_of(language), form, 100 * sum.accuracy(),
                  static_cast<long long>(sum.asked));
      if (yes_no) {
        const double yes = static_cast<double>(sum.said_yes) / static_cast<double>(sum.asked);
        line["yes_ratio"] = yes;
        std::printf(", says yes %.1f%%", 100 * yes);
      }
      std::printf("\n");
      figures["totals"].push_back(line);
    }
  }
  write_figures(dir, name, figures);
}

int eval_scenes(const Arguments& arguments) {
  constexpr int turns = 10;
  constexpr std::uint64_t seed = 99;
  const std::string dir = arguments.required("run");
  const std::int64_t scenes = arguments.get("scenes", parse_positive, std::int64_t{200});
  const std::unique_ptr<Communicator> ranks = world();
  Run run = open_to_evaluate(arguments, false, *ranks);
  const std::vector<Sample> mine = share_of(held_out_scene_texts(static_cast<int>(scenes), turns, seed), *ranks);
  report_answers(run, *ranks, mine, dir, "scenes", {{"run", dir}, {"scenes", scenes}});
  return 0;
}

// The samples [skip, skip + limit) of the file, of them this rank's share. limit 0: to the end.
std::vector<Sample> read_share(const std::string& path, std::int64_t skip, std::int64_t limit,
                               const Communicator& ranks) {
  const Dataset dataset(path);
  check(skip < dataset.size(), "--skip {} leaves nothing of {}, which has {} samples", skip, path, dataset.size());
  const std::int64_t end = limit > 0 ? std::min(dataset.size(), skip + limit) : dataset.size();
  std::vector<Sample> mine;
  for (std::int64_t i = skip + ranks.rank(); i < end; i += ranks.size()) mine.push_back(dataset.read(i));
  return mine;
}

bool has_pictures(const std::vector<Sample>& samples) {
  return std::ranges::any_of(samples, [](const Sample& sample) { return !sample.images.empty(); });
}

int eval_answers(const Arguments& arguments) {
  const std::string dir = arguments.required("run"), data = arguments.required("data");
  const std::int64_t limit = arguments.get("limit", parse_count, std::int64_t{500}),
                     skip = arguments.get("skip", parse_count, std::int64_t{0});
  const std::unique_ptr<Communicator> ranks = world();
  const std::vector<Sample> mine = read_share(data, skip, limit, *ranks);
  Run run = open_to_evaluate(arguments, has_pictures(mine), *ranks);
  report_answers(run, *ranks, mine, dir, "answers", {{"run", dir}, {"data", data}, {"skip", skip}, {"limit", limit}});
  return 0;
}

// ---- names

int eval_names(const Arguments& arguments) {
  const std::string dir = arguments.required("run"), data = arguments.required("data");
  const std::int64_t limit = arguments.get("limit", parse_count, std::int64_t{200});
  const std::unique_ptr<Communicator> ranks = world();
  const std::vector<Sample> mine = read_share(data, 0, limit, *ranks);
  Run run = open_to_evaluate(arguments, true, *ranks);
  json figures = {{"run", dir}, {"data", data}, {"limit", limit}, {"languages", json::object()}};
  for (const Language language : asked_languages) {
    const CaptionNames own = caption_names(run, mine, language);
    CaptionNames names;
    for (const std::string& text : gather_text(*ranks, json{own.named, own.right, own.present}.dump())) {
      const json counts = json::parse(text);
      names.named += counts.at(0).get<std::int64_t>();
      names.right += counts.at(1).get<std::int64_t>();
      names.present += counts.at(2).get<std::int64_t>();
    }
    figures["languages"][code_of(language)] = {{"named", names.named},
                                               {"right", names.right},
                                               {"present", names.present},
                                               {"precision", names.precision()},
                                               {"recall", names.recall()}};
    if (ranks->rank() != 0) continue;
    std::printf("names %s  precision %5.1f%% of %lld named, recall %5.1f%% of %lld on the canvases\n",
                code_of(language), 100 * names.precision(), static_cast<long long>(names.named), 100 * names.recall(),
                static_cast<long long>(names.present));
  }
  if (ranks->rank() == 0) write_figures(dir, "names", figures);
  return 0;
}

// ---- the commands

int mme_command(const Words& words) {
  return evaluate(
      "mme",
      "skymm eval mme --run DIR --data DIR [--by generation|likelihood] [--results DIR] [--limit N]\n"
      "skymm eval mme --results DIR\n\n"
      "Asks the questions of an MME folder, or scores result files that exist already. acc is the share of right\n"
      "answers, acc+ that of pictures with both right, the score 100 (acc + acc+). The rule is MME's own; answers in\n"
      "Chinese are read by a rule of this project, which is no part of MME.\n\n"
      "  skymm eval mme --run runs/stage2 --data data/picturebook/mme\n"
      "  mpirun -n 2 skymm eval mme --run runs/stage2 --data MME_Benchmark\n"
      "  skymm eval mme --results runs/stage2/eval/mme\n",
      {run_flag,
       device_flag,
       {"data", "DIR", "MME folder (a folder a task), or a folder that has such folders named en and zh"},
       {"results", "DIR",
        "with --run: where result files go, default RUN/eval/mme (mme_by_likelihood); alone: the result files to "
        "score, <task>.txt, or folders en and zh of them, whose figures go to scores.json in that folder"},
       by_flag,
       {"limit", "N", "pictures of each task; default 0: all"}},
      words, eval_mme);
}

int scenes_command(const Words& words) {
  return evaluate(
      "scenes",
      "skymm eval scenes --run DIR [--scenes N]\n\n"
      "Ten questions about each description of a scene whose layout no training scene has, in English and Chinese.\n"
      "An answer is right if every token of it is predicted.\n\n"
      "  skymm eval scenes --run runs/decoder --scenes 500\n",
      {run_flag, device_flag, {"scenes", "N", "in each language; default 200"}}, words, eval_scenes);
}

int answers_command(const Words& words) {
  return evaluate("answers",
                  "skymm eval answers --run DIR --data FILE [--limit N] [--skip N]\n\n"
                  "An answer is right if every token of it is predicted, given the true answers before it.\n\n"
                  "  skymm eval answers --run runs/stage2 --data data/picturebook/heldout.h5 --limit 1000\n",
                  {run_flag,
                   device_flag,
                   {"data", "FILE", "data set with questions and answers"},
                   {"limit", "N", "samples; 0: all; default 500"},
                   {"skip", "N", "samples at the start of the file that are left out; default 0"}},
                  words, eval_answers);
}

int names_command(const Words& words) {
  return evaluate("names",
                  "skymm eval names --run DIR --data FILE [--limit N]\n\n"
                  "Writes captions and compares the things that they name with those on the canvas: precision is the\n"
                  "share of the named that are there, recall that of the present that are named.\n\n"
                  "  skymm eval names --run runs/stage1 --data data/picturebook/validation.h5\n",
                  {run_flag,
                   device_flag,
                   {"data", "FILE", "data set with one caption a picture"},
                   {"limit", "N", "samples; 0: all; default 200"}},
                  words, eval_names);
}

}  // namespace

int eval_command(const Words& arguments) {
  static const std::vector<Command> table = {
      {"mme", "MME's yes/no questions about pictures", mme_command},
      {"mmbench", "MMBench's multiple-choice questions, every rotation", mmbench_command},
      {"pope", "POPE's yes/no questions about objects: hallucination", pope_command},
      {"scenes", "text-only questions about held-out scenes", scenes_command},
      {"answers", "the questions of a data set, word for word", answers_command},
      {"names", "the things that captions name", names_command},
  };
  return dispatch("skymm eval",
                  "How well a run answers. Figures are also written to RUN/eval/COMMAND.json. Under mpirun the ranks\n"
                  "share the questions: mpirun -n 4 skymm eval mme --run runs/stage2 --data data/picturebook/mme",
                  table, arguments);
}

}  // namespace skymm
