#include "launch/evaluation/pope.hpp"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "io/byte_stream.hpp"
#include "io/file.hpp"
#include "launch/config/options.hpp"
#include "launch/evaluation/language.hpp"

namespace skymm {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* split_names[] = {"random", "popular", "adversarial"};
constexpr std::size_t longest_line = 1 << 20;

// A line of a file, which may have an answer.
struct Line {
  PopeQuestion question;
  PopeRule rule = PopeRule::official;  // of the label
  std::string answer;
};

Line read_line(const std::string& line, const std::string& path, std::int64_t number, bool answered) {
  const json entry = json::parse(line, nullptr, false);
  const auto text = [&](const char* name) {
    const bool there = entry.is_object() && entry.contains(name) && entry.at(name).is_string();
    check(there, "{}:{}: no text \"{}\"; a line of POPE{} is {{\"question_id\", \"image\", \"text\", \"label\"{}}}",
          path, number, name, answered ? "'s results" : "", answered ? ", \"answer\"" : "");
    return entry.at(name).get<std::string>();
  };
  Line out;
  out.question = {.image = text("image"), .text = text("text")};
  const std::string label = text("label");
  const bool chinese = label == "是" || label == "否";
  check(chinese || label == "yes" || label == "no", "{}:{}: the label '{}' is neither yes, no, 是 nor 否", path, number,
        label);
  out.rule = chinese ? PopeRule::chinese : PopeRule::official;
  out.question.yes = label == "yes" || label == "是";
  if (entry.contains("question_id")) out.question.id = entry.at("question_id").dump();
  if (answered) out.answer = text("answer");
  return out;
}

PopeResults read_results(const std::string& path, bool answered) {
  PopeResults results;
  PopeSplit& split = results.split;
  split.name = fs::path(path).stem().string();
  for (const char* name : split_names) {
    if (split.name.find(name) != std::string::npos) split.name = name;
  }
  ByteStream file(path);
  std::string text, questions;
  for (std::int64_t number = 1; file.line(text, longest_line); ++number) {
    if (text.find_first_not_of(" \t") == std::string::npos) continue;
    Line line = read_line(text, path, number, answered);
    if (split.questions.empty()) split.rule = line.rule;
    check(split.rule == line.rule, "{}:{}: some labels are yes or no, others 是 or 否; a file has one language", path,
          number);
    questions += line.question.text + '\n';
    split.questions.push_back(std::move(line.question));
    if (answered) results.answers.push_back(std::move(line.answer));
  }
  check(!split.questions.empty(), "{} holds no questions", path);
  if (language_of(questions) == Language::chinese) split.rule = PopeRule::chinese;
  return results;
}

// `path`, or the files of a folder that splits are named after.
std::vector<std::string> split_files(const std::string& path) {
  if (!fs::is_directory(path)) return {path};
  std::vector<std::string> splits;
  for (const char* name : split_names) {
    std::vector<std::string> files;
    for (const auto& entry : fs::directory_iterator(path)) {
      const std::string file = entry.path().filename().string();
      const bool json_file = file.ends_with(".json") || file.ends_with(".jsonl");
      if (json_file && file.find(name) != std::string::npos) files.push_back(entry.path().string());
    }
    check(files.size() <= 1, "{} holds {} files of the split {}; give one file instead of the folder", path,
          files.size(), name);
    if (!files.empty()) splits.push_back(files.front());
  }
  check(!splits.empty(), "{} holds no file named after random, popular or adversarial (.json or .jsonl)", path);
  return splits;
}

std::vector<PopeResults> read_all(const std::string& path, bool answered) {
  std::vector<PopeResults> all;
  for (const std::string& file : split_files(path)) {
    all.push_back(read_results(file, answered));
    check(all.back().split.rule == all.front().split.rule,
          "{} is of another language than the split {}; a folder has one language, or folders en and zh", file,
          all.front().split.name);
  }
  return all;
}

bool official_yes(std::string_view answer) {
  const std::string_view sentence = answer.substr(0, answer.find('.'));
  std::string word;
  for (std::size_t i = 0; i <= sentence.size(); ++i) {
    const char c = i < sentence.size() ? sentence[i] : ' ';
    if (c == ',') continue;
    if (c != ' ') {
      word += c;
      continue;
    }
    if (word == "No" || word == "not" || word == "no") return false;
    word.clear();
  }
  return true;
}

bool chinese_yes(std::string_view answer) {
  std::string_view sentence = trimmed(answer);
  for (const std::string_view end : {"。", "！", "？", "!", "?", "\n"})
    sentence = sentence.substr(0, sentence.find(end));
  if (sentence.starts_with("是") || sentence.starts_with("有")) return true;
  for (const std::string_view no : {"否", "不", "没"}) {
    if (sentence.find(no) != std::string_view::npos) return false;
  }
  return official_yes(sentence);
}

}  // namespace

std::string_view name_of(PopeRule rule) { return rule == PopeRule::official ? "official" : "chinese (not official)"; }

std::vector<PopeSplit> read_pope_splits(const std::string& path) {
  std::vector<PopeSplit> splits;
  for (PopeResults& results : read_all(path, false)) splits.push_back(std::move(results.split));
  return splits;
}

std::vector<PopeResults> read_pope_results(const std::string& path) { return read_all(path, true); }

void write_pope_results(const std::string& path, const PopeResults& results) {
  const bool chinese = results.split.rule == PopeRule::chinese;
  std::string lines;
  for (std::size_t i = 0; i < results.answers.size(); ++i) {
    const PopeQuestion& question = results.split.questions[i];
    json line = {{"image", question.image}, {"text", question.text}, {"answer", results.answers[i]}};
    line["label"] = question.yes ? chinese ? "是" : "yes" : chinese ? "否" : "no";
    if (!question.id.empty()) line["question_id"] = json::parse(question.id);
    lines += line.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  }
  write_file(path, lines);
}

bool pope_says_yes(std::string_view answer, PopeRule rule) {
  return rule == PopeRule::chinese ? chinese_yes(answer) : official_yes(answer);
}

PopeScore score_pope(const PopeSplit& split, const std::vector<std::string>& answers) {
  check(answers.size() == split.questions.size(), "POPE {}: {} answers to {} questions", split.name, answers.size(),
        split.questions.size());
  PopeScore score{.split = split.name, .rule = split.rule};
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const bool yes = pope_says_yes(answers[i], split.rule);
    if (split.questions[i].yes) {
      ++(yes ? score.true_yes : score.false_no);
    } else {
      ++(yes ? score.false_yes : score.true_no);
    }
  }
  return score;
}

std::string format_pope(const std::vector<PopeScore>& scores) {
  std::string text = fmt::format("{:<14}{:>10}{:>10}{:>11}{:>9}{:>9}{:>9}\n", "split", "questions", "accuracy",
                                 "precision", "recall", "F1", "yes");
  for (const PopeScore& score : scores) {
    text += fmt::format("{:<14}{:>10}{:>9.1f}%{:>10.1f}%{:>8.1f}%{:>8.1f}%{:>8.1f}%\n", score.split, score.questions(),
                        100 * score.accuracy(), 100 * score.precision(), 100 * score.recall(), 100 * score.f1(),
                        100 * score.yes_ratio());
  }
  if (!scores.empty()) text += fmt::format("rule: {}\n", name_of(scores.front().rule));
  return text;
}

}  // namespace skymm
