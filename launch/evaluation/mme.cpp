#include "launch/evaluation/mme.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>

#include "core/error.hpp"
#include "core/log.hpp"
#include "io/file.hpp"
#include "launch/config/options.hpp"

namespace skymm {
namespace {

namespace fs = std::filesystem;

struct TaskName {
  std::string_view name;
  MmeGroup group;
};

constexpr std::array<TaskName, 14> mme_tasks = {{{"existence", MmeGroup::perception},
                                                 {"count", MmeGroup::perception},
                                                 {"position", MmeGroup::perception},
                                                 {"color", MmeGroup::perception},
                                                 {"posters", MmeGroup::perception},
                                                 {"celebrity", MmeGroup::perception},
                                                 {"scene", MmeGroup::perception},
                                                 {"landmark", MmeGroup::perception},
                                                 {"artwork", MmeGroup::perception},
                                                 {"OCR", MmeGroup::perception},
                                                 {"commonsense_reasoning", MmeGroup::cognition},
                                                 {"numerical_calculation", MmeGroup::cognition},
                                                 {"text_translation", MmeGroup::cognition},
                                                 {"code_reasoning", MmeGroup::cognition}}};

std::string all_task_names() {
  std::vector<std::string_view> names;
  for (const TaskName& task : mme_tasks) names.push_back(task.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

// A task in parts, as picturebook-mme has position in grades: "position_between". No sum of MME's holds one.
bool is_part(std::string_view name) {
  return std::ranges::any_of(mme_tasks, [&](const TaskName& task) {
    return name.size() > task.name.size() + 1 && name.starts_with(task.name) && name[task.name.size()] == '_';
  });
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

// In characters, as Python counts them, not bytes.
std::string_view first_characters(std::string_view text, int count) {
  std::size_t end = 0;
  for (; end < text.size(); ++end) {
    const bool continues = (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U;
    if (!continues && --count < 0) break;
  }
  return text.substr(0, end);
}

struct Truth {
  bool yes;
  MmeRule rule;
};

std::optional<Truth> read_truth(std::string_view text) {
  const std::string truth = lower(text);
  if (truth == "yes" || truth == "no") return Truth{truth == "yes", MmeRule::official};
  if (truth == "是" || truth == "否") return Truth{truth == "是", MmeRule::chinese};
  return std::nullopt;
}

// Without line ends; empty lines at the end are none.
std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    if (lines.back().ends_with('\r')) lines.back().pop_back();
    begin = end + 1;
  }
  while (!lines.empty() && trimmed(lines.back()).empty()) lines.pop_back();
  return lines;
}

std::vector<std::string> fields_of(const std::string& line) {
  std::vector<std::string> fields;
  for (std::size_t begin = 0;; ++begin) {
    const std::size_t end = std::min(line.find('\t', begin), line.size());
    fields.push_back(line.substr(begin, end - begin));
    if (end == line.size()) return fields;
    begin = end;
  }
}

fs::path picture_of(const fs::path& folder, const fs::path& questions) {
  for (const char* extension : {".png", ".jpg", ".jpeg", ".webp", ".PNG", ".JPG", ".JPEG"}) {
    fs::path path = folder / questions.stem();
    path += extension;
    if (fs::exists(path)) return path;
  }
  fail("{} has no picture: {} with .png, .jpg, .jpeg or .webp is missing", questions.string(),
       (folder / questions.stem()).string());
}

void read_questions(const fs::path& questions, const fs::path& pictures, MmeTask& task) {
  const fs::path picture = picture_of(pictures, questions);
  const std::vector<std::string> lines = lines_of(read_file(questions.string()));
  check(lines.size() == 2, "{} holds {} questions; MME asks two about a picture, a line each", questions.string(),
        lines.size());
  for (const std::string& line : lines) {
    const std::vector<std::string> fields = fields_of(line);
    check(fields.size() == 2, "{}: '{}' is not a question, a tab and its answer", questions.string(), line);
    std::string truth(trimmed(fields[1]));
    check(read_truth(truth).has_value(), "{}: the answer '{}' is neither Yes, No, 是 nor 否", questions.string(),
          truth);
    task.questions.push_back({picture.filename().string(), picture.string(), fields[0], std::move(truth)});
  }
}

MmeTask read_task(const fs::path& folder) {
  MmeTask task{folder.filename().string(), {}};
  const fs::path apart = folder / "questions_answers_YN";
  const bool is_apart = fs::is_directory(apart);
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(is_apart ? apart : folder)) {
    if (entry.path().extension() == ".txt") files.push_back(entry.path());
  }
  check(!files.empty(), "{} holds no questions (.txt): neither beside the pictures nor in questions_answers_YN/",
        folder.string());
  std::ranges::sort(files);
  for (const fs::path& file : files) read_questions(file, is_apart ? folder / "images" : folder, task);
  return task;
}

}  // namespace

std::string_view name_of(MmeRule rule) { return rule == MmeRule::official ? "official" : "chinese (not official)"; }

MmeVerdict read_response(std::string_view response, MmeRule rule) {
  const std::string text = lower(response);
  const std::string_view start = first_characters(text, 4);
  const auto has = [&](std::string_view word) { return start.find(word) != std::string_view::npos; };
  if (rule == MmeRule::chinese) {
    if (has("否") || has("不")) return MmeVerdict::no;
    return has("是") ? MmeVerdict::yes : MmeVerdict::other;
  }
  if (has("yes")) return MmeVerdict::yes;
  return has("no") ? MmeVerdict::no : MmeVerdict::other;
}

bool is_right(const MmeResult& result) {
  const std::optional<Truth> truth = read_truth(result.truth);
  check(truth.has_value(), "the truth '{}' is neither Yes, No, 是 nor 否", result.truth);
  return read_response(result.response, truth->rule) == (truth->yes ? MmeVerdict::yes : MmeVerdict::no);
}

std::vector<MmeTask> read_mme(const std::string& dir) {
  check(fs::is_directory(dir), "{} is no folder; an MME folder holds a folder a task: {}", dir, all_task_names());
  std::vector<MmeTask> tasks;
  for (const TaskName& task : mme_tasks) {
    if (fs::is_directory(fs::path(dir) / task.name)) tasks.push_back(read_task(fs::path(dir) / task.name));
  }
  std::vector<fs::path> parts;
  for (const auto& entry : fs::directory_iterator(dir)) {
    const std::string name = entry.path().filename().string();
    if (!entry.is_directory() || std::ranges::find(mme_tasks, name, &TaskName::name) != mme_tasks.end()) continue;
    if (is_part(name)) {
      parts.push_back(entry.path());
    } else {
      log::warn("{}/{} is no task of MME and is passed over", dir, name);
    }
  }
  std::ranges::sort(parts);
  for (const fs::path& part : parts) tasks.push_back(read_task(part));
  check(!tasks.empty(), "{} holds no task of MME; it should hold some of the folders {}", dir, all_task_names());
  return tasks;
}

void write_mme_results(const std::string& path, const std::vector<MmeResult>& results) {
  std::string text;
  for (const MmeResult& result : results) {
    std::string response = result.response;
    std::ranges::replace_if(
        response, [](char c) { return c == '\t' || c == '\n' || c == '\r'; }, ' ');
    text += fmt::format("{}\t{}\t{}\t{}\n", result.picture, result.question, result.truth, response);
  }
  write_file(path, text);
}

std::vector<MmeResult> read_mme_results(const std::string& path) {
  const std::vector<std::string> lines = lines_of(read_file(path));
  check(!lines.empty(), "{} holds no results", path);
  std::vector<MmeResult> results;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    std::vector<std::string> fields = fields_of(lines[i]);
    check(fields.size() == 4,
          "{}:{}: {} fields instead of 4 (picture, question, truth, response, tabs between); is the file truncated?",
          path, i + 1, fields.size());
    check(read_truth(fields[2]).has_value(), "{}:{}: the truth '{}' is neither Yes, No, 是 nor 否", path, i + 1,
          fields[2]);
    results.push_back({std::move(fields[0]), std::move(fields[1]), std::move(fields[2]), std::move(fields[3])});
    check(i % 2 == 0 || results[i].picture == results[i - 1].picture,
          "{}:{}: a pair of lines must be about one picture, but {} follows {}; a line is missing before", path, i + 1,
          results[i].picture, results[i - 1].picture);
  }
  check(lines.size() % 2 == 0, "{} has {} lines, an odd number: MME has two a picture; is the file truncated?", path,
        lines.size());
  return results;
}

MmeScore score_mme(const std::string& task, const std::vector<MmeResult>& results) {
  check(results.size() % 2 == 0, "{}: {} results, an odd number: MME has two a picture", task, results.size());
  MmeScore score{task};
  bool last_right = false;
  for (std::size_t i = 0; i < results.size(); ++i) {
    const std::optional<Truth> truth = read_truth(results[i].truth);
    check(truth.has_value(), "{}: the truth '{}' is neither Yes, No, 是 nor 否", task, results[i].truth);
    if (i == 0) score.rule = truth->rule;
    check(truth->rule == score.rule, "{}: some answers are Yes or No, others 是 or 否; a task has one language", task);
    const MmeVerdict verdict = read_response(results[i].response, truth->rule);
    const bool right = verdict == (truth->yes ? MmeVerdict::yes : MmeVerdict::no);
    ++score.questions;
    score.right += right;
    score.said_yes += verdict == MmeVerdict::yes;
    score.said_other += verdict == MmeVerdict::other;
    if (i % 2 == 1) {
      ++score.pictures;
      score.both_right += right && last_right;
    }
    last_right = right;
  }
  return score;
}

MmeSum sum_mme(const std::vector<MmeScore>& scores, MmeGroup group) {
  MmeSum sum;
  for (const TaskName& task : mme_tasks) {
    if (task.group != group) continue;
    ++sum.all_tasks;
    const auto found = std::ranges::find(scores, task.name, &MmeScore::task);
    if (found == scores.end()) continue;
    ++sum.tasks;
    sum.score += found->score();
  }
  return sum;
}

MmeScore total_mme(const std::vector<MmeScore>& scores) {
  MmeScore total{"all"};
  for (const MmeScore& score : scores) {
    total.rule = score.rule;
    total.questions += score.questions;
    total.right += score.right;
    total.pictures += score.pictures;
    total.both_right += score.both_right;
    total.said_yes += score.said_yes;
    total.said_other += score.said_other;
  }
  return total;
}

std::vector<MmeScore> score_mme_folder(const std::string& dir) {
  check(fs::is_directory(dir), "{} is no folder; it should hold result files such as existence.txt", dir);
  std::vector<MmeScore> scores;
  for (const TaskName& task : mme_tasks) {
    const std::string path = fmt::format("{}/{}.txt", dir, task.name);
    if (fs::exists(path)) scores.push_back(score_mme(std::string(task.name), read_mme_results(path)));
  }
  std::vector<fs::path> parts;
  for (const auto& entry : fs::directory_iterator(dir))
    if (entry.path().extension() == ".txt" && is_part(entry.path().stem().string())) parts.push_back(entry.path());
  std::ranges::sort(parts);
  for (const fs::path& part : parts) scores.push_back(score_mme(part.stem().string(), read_mme_results(part.string())));
  check(!scores.empty(), "{} holds no result file; it should hold some of {}, each with .txt", dir, all_task_names());
  return scores;
}

std::string format_mme(const std::vector<MmeScore>& scores) {
  std::string text = fmt::format("{:<24}{:>10}{:>9}{:>9}{:>9}{:>9}{:>9}\n", "task", "questions", "acc", "acc+", "score",
                                 "yes", "other");
  const auto line = [&](const MmeScore& score, const std::string& points) {
    const double questions = static_cast<double>(std::max<std::int64_t>(score.questions, 1));
    text += fmt::format("{:<24}{:>10}{:>8.1f}%{:>8.1f}%{:>9}{:>8.1f}%{:>8.1f}%\n", score.task, score.questions,
                        100 * score.acc(), 100 * score.acc_plus(), points, 100 * score.yes_ratio(),
                        100 * static_cast<double>(score.said_other) / questions);
  };
  for (const MmeScore& score : scores) line(score, fmt::format("{:.1f}", score.score()));
  if (scores.size() > 1) line(total_mme(scores), "");
  for (const auto& [name, group] :
       {std::pair{"perception", MmeGroup::perception}, {"cognition", MmeGroup::cognition}}) {
    const MmeSum sum = sum_mme(scores, group);
    text += fmt::format("{:<24}{:>46.1f} of {} ({} of {} tasks)\n", name, sum.score, 200 * sum.tasks, sum.tasks,
                        sum.all_tasks);
  }
  text += fmt::format("rule: {}\n", name_of(total_mme(scores).rule));
  return text;
}

}  // namespace skymm
