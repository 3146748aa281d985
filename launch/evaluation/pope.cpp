#include "launch/evaluation/pope.hpp"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "io/byte_stream.hpp"

namespace skymm {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* split_names[] = {"random", "popular", "adversarial"};
constexpr std::size_t longest_line = 1 << 20;

PopeQuestion read_question(const std::string& line, const std::string& path, std::int64_t number) {
  const json entry = json::parse(line, nullptr, false);
  const auto text = [&](const char* name) {
    const bool there = entry.is_object() && entry.contains(name) && entry.at(name).is_string();
    check(there, "{}:{}: no text \"{}\"; a line of POPE is {{\"question_id\", \"image\", \"text\", \"label\"}}", path,
          number, name);
    return entry.at(name).get<std::string>();
  };
  PopeQuestion question{.image = text("image"), .text = text("text")};
  const std::string label = text("label");
  check(label == "yes" || label == "no", "{}:{}: the label '{}' is neither yes nor no", path, number, label);
  question.yes = label == "yes";
  if (entry.contains("question_id")) question.id = entry.at("question_id").dump();
  return question;
}

PopeSplit read_split(const std::string& path) {
  PopeSplit split{fs::path(path).stem().string(), {}};
  for (const char* name : split_names) {
    if (split.name.find(name) != std::string::npos) split.name = name;
  }
  ByteStream file(path);
  std::string line;
  for (std::int64_t number = 1; file.line(line, longest_line); ++number) {
    if (line.find_first_not_of(" \t") != std::string::npos)
      split.questions.push_back(read_question(line, path, number));
  }
  check(!split.questions.empty(), "{} holds no questions", path);
  return split;
}

}  // namespace

std::vector<PopeSplit> read_pope_splits(const std::string& path) {
  if (!fs::is_directory(path)) return {read_split(path)};
  std::vector<PopeSplit> splits;
  for (const char* name : split_names) {
    std::vector<std::string> files;
    for (const auto& entry : fs::directory_iterator(path)) {
      const std::string file = entry.path().filename().string();
      const bool json_file = file.ends_with(".json") || file.ends_with(".jsonl");
      if (json_file && file.find(name) != std::string::npos) files.push_back(entry.path().string());
    }
    check(files.size() <= 1, "{} holds {} files of the split {}; give one file instead of the folder", path,
          files.size(), name);
    if (!files.empty()) splits.push_back(read_split(files.front()));
  }
  check(!splits.empty(), "{} holds no file named after random, popular or adversarial (.json)", path);
  return splits;
}

bool pope_says_yes(std::string_view answer) {
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

PopeScore score_pope(const PopeSplit& split, const std::vector<std::string>& answers) {
  check(answers.size() == split.questions.size(), "POPE {}: {} answers to {} questions", split.name, answers.size(),
        split.questions.size());
  PopeScore score{.split = split.name};
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const bool yes = pope_says_yes(answers[i]);
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
  return text;
}

}  // namespace skymm
