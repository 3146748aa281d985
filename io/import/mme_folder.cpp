// MME's folder as samples: a picture and its two questions each.
#include <algorithm>
#include <filesystem>
#include <sstream>

#include "core/error.hpp"
#include "io/file.hpp"
#include "io/import/record.hpp"

namespace skymm {
namespace {

namespace fs = std::filesystem;

bool is_yes(const std::string& answer) { return answer == "Yes" || answer == "yes" || answer == "是"; }
bool is_no(const std::string& answer) { return answer == "No" || answer == "no" || answer == "否"; }

std::string picture_of(const fs::path& folder, const fs::path& stem) {
  for (const char* extension : {".jpg", ".png", ".jpeg", ".webp", ".JPG", ".PNG", ".JPEG"}) {
    const fs::path path = folder / (stem.string() + extension);
    if (fs::exists(path)) return fs::absolute(path).string();
  }
  return "";
}

void add_turn(std::string line, const std::string& task, Record& record) {
  if (line.ends_with('\r')) line.pop_back();
  const std::size_t tab = line.find('\t');
  std::string answer = tab == std::string::npos ? "" : line.substr(tab + 1);
  while (answer.ends_with(' ')) answer.pop_back();
  if (!is_yes(answer) && !is_no(answer)) {
    return record.refuse(Reject::malformed, fmt::format("'{}' is not a question, a tab, and yes or no", line));
  }
  record.sample.parts.push_back(text_part(line.substr(0, tab)));
  record.sample.parts.push_back(answer_part(answer, task, is_yes(answer) ? Polarity::positive : Polarity::negative));
}

Record read_picture(const fs::path& questions, const fs::path& pictures, const std::string& task) {
  Record record{.where = task + "/" + questions.filename().string()};
  record.sample.id = task + "/" + questions.stem().string();
  const std::string picture = picture_of(pictures, questions.stem());
  if (picture.empty()) {
    record.refuse(Reject::image_missing, "there is no picture of that name");
    return record;
  }
  record.sample.parts.push_back(image_part(0));
  record.image_paths.push_back(picture);
  std::istringstream lines(read_file(questions.string()));
  for (std::string line; std::getline(lines, line);) {
    if (line.find_first_not_of(" \t\r") != std::string::npos && record.reject == Reject::none) {
      add_turn(line, task, record);
    }
  }
  return record;
}

std::vector<fs::path> sorted(const fs::path& folder, bool folders) {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (folders ? entry.is_directory() : entry.path().extension() == ".txt") paths.push_back(entry.path());
  }
  std::ranges::sort(paths);
  return paths;
}

}  // namespace

void read_mme_folder(const std::string& input, const ReaderOptions&, RecordSink& sink) {
  check(fs::is_directory(input), "{} is no folder; MME's holds a folder a task", input);
  for (const fs::path& task : sorted(input, true)) {
    const bool apart = fs::is_directory(task / "questions_answers_YN");
    for (const fs::path& questions : sorted(apart ? task / "questions_answers_YN" : task, false)) {
      if (!sink.wants()) continue;
      if (!sink.put(read_picture(questions, apart ? task / "images" : task, task.filename().string()))) return;
    }
  }
}

}  // namespace skymm
