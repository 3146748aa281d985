#include "launch/evaluation/mmbench.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "core/error.hpp"

namespace skymm {
namespace {

// As papers and as tables have them.
constexpr const char* l2_order[] = {"CP",   "coarse_perception",
                                    "FP-S", "finegrained_perception (instance-level)",
                                    "FP-C", "finegrained_perception (cross-instance)",
                                    "LR",   "logic_reasoning",
                                    "RR",   "relation_reasoning",
                                    "AR",   "attribute_reasoning"};

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](char c) { return lower(c); });
  return out;
}

// Words, with the punctuation that surrounds options taken for spaces.
std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words(1);
  for (const char c : text) {
    if (std::string_view(" \t\r\n.()[],:;!*#{}").find(c) == std::string_view::npos) {
      words.back() += c;
    } else if (!words.back().empty()) {
      words.emplace_back();
    }
  }
  if (words.back().empty()) words.pop_back();
  return words;
}

char letter_alone(std::string_view answer, std::size_t options) {
  const std::vector<std::string> words = words_of(answer);
  char letter = '\0';
  std::size_t place = 0;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const char c = words[i].size() == 1 ? words[i][0] : '\0';
    if (c < 'A' || c >= static_cast<char>('A' + options)) continue;
    if (letter != '\0' && letter != c) return '\0';
    if (letter == '\0') place = i;
    letter = c;
  }
  if (letter == '\0' || (letter == 'A' && words.size() > 3)) return '\0';
  return place + 5 > words.size() ? letter : '\0';
}

char after_answer_is(std::string_view answer, std::size_t options) {
  constexpr std::string_view mark = "answer is";
  const std::size_t found = lower(answer).find(mark);
  if (found == std::string::npos) return '\0';
  const std::vector<std::string> words = words_of(answer.substr(found + mark.size()));
  if (words.empty() || words[0].size() != 1) return '\0';
  const char c = words[0][0];
  return c >= 'A' && c < static_cast<char>('A' + options) ? c : '\0';
}

char option_contained(std::string_view answer, const std::vector<std::string>& options) {
  const std::string text = lower(answer);
  char letter = '\0';
  for (std::size_t i = 0; i < options.size(); ++i) {
    if (text.find(lower(options[i])) == std::string::npos) continue;
    if (letter != '\0') return '\0';
    letter = static_cast<char>('A' + i);
  }
  return letter;
}

MmbenchQuestion question_of(MmbenchRow row) {
  MmbenchQuestion question{.index = row.index, .prompt = mmbench_prompt(row)};
  question.options = std::move(row.options);
  question.answer = row.answer;
  question.category = std::move(row.category);
  question.l2_category = std::move(row.l2_category);
  question.image = std::move(row.image);
  return question;
}

MmbenchRow rotated(const MmbenchRow& row, std::size_t by) {
  MmbenchRow out = row;
  const std::size_t n = row.options.size();
  for (std::size_t i = 0; i < n; ++i) out.options[i] = row.options[(i + by) % n];
  const auto place = static_cast<std::size_t>(row.answer - 'A');
  out.answer = static_cast<char>('A' + (place + n - by) % n);
  out.index += static_cast<std::int64_t>(by) * mmbench_rotation;
  return out;
}

bool has_rotations(const std::string& path) {
  MmbenchTable table(path);
  for (MmbenchRow row; table.next(row, false);) {
    if (row.index >= mmbench_rotation) return true;
  }
  return false;
}

}  // namespace

std::vector<MmbenchQuestion> read_mmbench_table(const std::string& path,
                                                const std::function<bool(std::size_t)>& wants_image) {
  const bool rotations = has_rotations(path);
  MmbenchTable table(path);
  std::vector<MmbenchQuestion> questions;
  for (MmbenchRow row; table.next(row, true);) {
    check(row.problem.empty(), "{}:{}: {}", path, table.line(), row.problem);
    check(row.answer != '\0', "{}:{}: the table does not tell the answer; a test split is scored by MMBench's server",
          path, table.line());
    const std::size_t turns = rotations ? 1 : row.options.size();
    for (std::size_t k = 0; k < turns; ++k) {
      const bool wanted = wants_image(questions.size());
      questions.push_back(question_of(rotated(row, k)));
      if (!wanted) questions.back().image = {};
    }
  }
  check(!questions.empty(), "{} holds no questions", path);
  return questions;
}

char read_choice(std::string_view answer, const std::vector<std::string>& options) {
  if (const char letter = letter_alone(answer, options.size())) return letter;
  if (const char letter = after_answer_is(answer, options.size())) return letter;
  return option_contained(answer, options);
}

MmbenchScores score_mmbench(const std::vector<MmbenchQuestion>& questions, const std::vector<std::string>& answers) {
  check(answers.size() == questions.size(), "MMBench: {} answers to {} questions", answers.size(), questions.size());
  struct Circle {
    std::string l2;
    std::int64_t rotations = 0, right = 0;
  };
  std::map<std::int64_t, Circle> circles;
  MmbenchScores scores;
  scores.all.name = "all";
  for (std::size_t i = 0; i < questions.size(); ++i) {
    const MmbenchQuestion& question = questions[i];
    Circle& circle = circles[question.index % mmbench_rotation];
    check(circle.rotations == 0 || circle.l2 == question.l2_category,
          "MMBench: rows of question {} are in the categories {} and {}", question.index % mmbench_rotation, circle.l2,
          question.l2_category);
    circle.l2 = question.l2_category;
    const char choice = read_choice(answers[i], question.options);
    scores.unread += choice == '\0';
    ++circle.rotations;
    circle.right += choice == question.answer;
  }
  std::map<std::string, MmbenchScore> by_l2;
  for (const auto& [index, circle] : circles) {
    for (MmbenchScore* score : {&scores.all, &by_l2[circle.l2]}) {
      ++score->questions;
      score->right += circle.right == circle.rotations;
      score->rotations += circle.rotations;
      score->rotations_right += circle.right;
    }
  }
  const auto take = [&](const std::string& name) {
    if (auto node = by_l2.extract(name); !node.empty()) {
      node.mapped().name = name.empty() ? "none" : name;
      scores.l2.push_back(std::move(node.mapped()));
    }
  };
  for (const char* name : l2_order) take(name);
  while (!by_l2.empty()) take(std::string(by_l2.begin()->first));
  return scores;
}

std::string format_mmbench(const MmbenchScores& scores) {
  std::string text = fmt::format("{:<24}{:>10}{:>10}{:>18}\n", "category", "questions", "circular", "each rotation");
  const auto line = [&](const MmbenchScore& score) {
    text += fmt::format("{:<24}{:>10}{:>9.1f}%{:>17.1f}%\n", score.name, score.questions, 100 * score.accuracy(),
                        100 * score.plain_accuracy());
  };
  for (const MmbenchScore& score : scores.l2) line(score);
  line(scores.all);
  text += fmt::format("{} of {} answers told no option\n", scores.unread, scores.all.rotations);
  return text;
}

}  // namespace skymm
