#include "launch/evaluation/mmbench.hpp"

#include <algorithm>
#include <filesystem>
#include <map>
#include <tuple>
#include <utility>

#include "core/error.hpp"
#include "core/log.hpp"
#include "io/file.hpp"

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
  question.question = std::move(row.question);
  question.hint = std::move(row.hint);
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

// en or zh, if a part of the name tells it.
std::string named_language(const std::string& name) {
  std::string found;
  for (std::size_t begin = 0; begin <= name.size();) {
    const std::size_t end = std::min(name.find('_', begin), name.size());
    const std::string part = lower(std::string_view(name).substr(begin, end - begin));
    if (part == "en") found = "en";
    if (part == "zh" || part == "cn") found = "zh";
    begin = end + 1;
  }
  return found;
}

void check_row(const MmbenchRow& row, const std::string& path, std::int64_t line) {
  check(row.problem.empty(), "{}:{}: {}", path, line, row.problem);
  check(row.answer != '\0', "{}:{}: the table does not tell the answer; a test split is scored by MMBench's server",
        path, line);
}

// A field that TableReader reads back; its line ends and quotes stay.
std::string field_of(const std::string& text) {
  if (text.find_first_of("\t\r\n\"") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + '"';
}

using Abilities = std::pair<std::string, std::string>;  // L2 and L3

// By L2 in MMBench's order, then others, each by name.
bool comes_before(const Abilities& a, const Abilities& b) {
  const auto place = [](const std::string& l2) { return std::ranges::find(l2_order, l2) - std::begin(l2_order); };
  return std::tuple(place(a.first), a) < std::tuple(place(b.first), b);
}

}  // namespace

std::vector<MmbenchQuestion> read_mmbench_table(const std::string& path,
                                                const std::function<bool(std::size_t)>& wants_image) {
  const bool rotations = has_rotations(path);
  MmbenchTable table(path);
  std::vector<MmbenchQuestion> questions;
  for (MmbenchRow row; table.next(row, true);) {
    check_row(row, path, table.line());
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

std::vector<LanguageSet> mmbench_tables(const std::string& path) {
  namespace fs = std::filesystem;
  if (!fs::is_directory(path)) return {{"", path}};
  std::map<std::string, std::vector<std::string>> files;  // of each language, "" where the name tells none
  for (const auto& entry : fs::directory_iterator(path)) {
    if (entry.path().extension() == ".tsv") files[named_language(entry.path().stem())].push_back(entry.path());
  }
  if (files.size() > 1) files.erase("");
  std::vector<LanguageSet> tables;
  for (const auto& [language, found] : files) {
    check(found.size() == 1, "{} holds {} tables (.tsv){}{} instead of one; give the file", path, found.size(),
          language.empty() ? "" : " of the language ", language);
    tables.push_back({language, found.front()});
  }
  check(!tables.empty(), "{} holds no table (.tsv)", path);
  return tables;
}

void write_mmbench_results(const std::string& path, const MmbenchResults& results) {
  std::string rows = "index\tquestion\thint\tA\tB\tC\tD\tanswer\tcategory\tl2-category\tprediction\n";
  for (std::size_t i = 0; i < results.questions.size(); ++i) {
    const MmbenchQuestion& question = results.questions[i];
    rows += fmt::format("{}\t{}\t{}", question.index, field_of(question.question), field_of(question.hint));
    for (std::size_t k = 0; k < 4; ++k)
      rows += '\t' + (k < question.options.size() ? field_of(question.options[k]) : "");
    rows += fmt::format("\t{}\t{}\t{}\t{}\n", question.answer, field_of(question.category),
                        field_of(question.l2_category), field_of(results.answers[i]));
  }
  write_file(path, rows);
}

MmbenchResults read_mmbench_results(const std::string& path) {
  MmbenchTable table(path);
  check(table.has_predictions(), "{} has no column 'prediction', which holds the answers in a table of results", path);
  MmbenchResults results;
  std::map<std::int64_t, std::size_t> rotations;  // of each question
  for (MmbenchRow row; table.next(row, false);) {
    check_row(row, path, table.line());
    ++rotations[row.index % mmbench_rotation];
    results.answers.push_back(std::move(row.prediction));
    results.questions.push_back(question_of(std::move(row)));
  }
  check(!results.questions.empty(), "{} holds no results", path);
  const auto lacking = std::ranges::count_if(results.questions, [&](const MmbenchQuestion& question) {
    return question.index < mmbench_rotation && rotations[question.index] < question.options.size();
  });
  if (lacking > 0) {
    log::warn("{}: of {} questions not every rotation of the options was asked: their figures are not circular", path,
              lacking);
  }
  return results;
}

char read_choice(std::string_view answer, const std::vector<std::string>& options) {
  if (const char letter = letter_alone(answer, options.size())) return letter;
  if (const char letter = after_answer_is(answer, options.size())) return letter;
  return option_contained(answer, options);
}

MmbenchScores score_mmbench(const std::vector<MmbenchQuestion>& questions, const std::vector<std::string>& answers) {
  check(answers.size() == questions.size(), "MMBench: {} answers to {} questions", answers.size(), questions.size());
  struct Circle {
    Abilities abilities;
    std::int64_t rotations = 0, right = 0;
  };
  std::map<std::int64_t, Circle> circles;
  MmbenchScores scores;
  scores.all.name = "all";
  for (std::size_t i = 0; i < questions.size(); ++i) {
    const MmbenchQuestion& question = questions[i];
    Circle& circle = circles[question.index % mmbench_rotation];
    const Abilities abilities{question.l2_category, question.category};
    check(circle.rotations == 0 || circle.abilities == abilities,
          "MMBench: rows of question {} are in the categories {} ({}) and {} ({})", question.index % mmbench_rotation,
          circle.abilities.first, circle.abilities.second, abilities.first, abilities.second);
    circle.abilities = abilities;
    const char choice = read_choice(answers[i], question.options);
    if (choice == '\0') {
      ++scores.unread;
    } else {
      ++scores.chosen.at(static_cast<std::size_t>(choice - 'A'));
    }
    ++circle.rotations;
    circle.right += choice == question.answer;
  }
  std::map<Abilities, MmbenchScore, decltype(&comes_before)> by_l2(comes_before), by_l3(comes_before);
  for (const auto& [index, circle] : circles) {
    const Abilities l2{circle.abilities.first, ""};
    for (MmbenchScore* score : {&scores.all, &by_l2[l2], &by_l3[circle.abilities]}) {
      ++score->questions;
      score->right += circle.right == circle.rotations;
      score->rotations += circle.rotations;
      score->rotations_right += circle.right;
    }
  }
  const auto named = [](const std::string& name) { return name.empty() ? std::string("none") : name; };
  for (auto& [abilities, score] : by_l2) {
    score.name = named(abilities.first);
    scores.l2.push_back(std::move(score));
  }
  for (auto& [abilities, score] : by_l3) {
    score.name = named(abilities.second), score.l2 = named(abilities.first);
    scores.l3.push_back(std::move(score));
  }
  return scores;
}

std::string format_mmbench(const MmbenchScores& scores) {
  std::string text = fmt::format("{:<40}{:>10}{:>10}{:>18}\n", "ability", "questions", "circular", "each rotation");
  const auto line = [&](const std::string& name, const MmbenchScore& score) {
    text += fmt::format("{:<40}{:>10}{:>9.1f}%{:>17.1f}%\n", name, score.questions, 100 * score.accuracy(),
                        100 * score.plain_accuracy());
  };
  for (const MmbenchScore& l2 : scores.l2) {
    line(l2.name, l2);
    for (const MmbenchScore& l3 : scores.l3) {
      if (l3.l2 == l2.name) line("  " + l3.name, l3);
    }
  }
  line(scores.all.name, scores.all);
  text += fmt::format("{} of {} answers told no option", scores.unread, scores.all.rotations);
  const double rotations = static_cast<double>(std::max<std::int64_t>(scores.all.rotations, 1));
  for (std::size_t i = 0; i < scores.chosen.size(); ++i) {
    text += fmt::format("{} {} {:.1f}%", i == 0 ? "; chosen:" : ",", static_cast<char>('A' + i),
                        100 * static_cast<double>(scores.chosen[i]) / rotations);
  }
  return text + '\n';
}

}  // namespace skymm
