// MME (Fu et al. 2023, arXiv:2306.13394): yes/no questions about pictures, two to a picture, in 14 tasks.
//
//   acc    right answers / questions
//   acc+   pictures with both answers right / pictures
//   score  100 (acc + acc+) of a task, at most 200; perception sums ten tasks, cognition four
//
// A folder holds a folder a task, in one of two layouts:
//
//   <task>/a.png, a.txt                                        picture and questions together
//   <task>/images/a.jpg, <task>/questions_answers_YN/a.txt
//
// A task may come in parts, tasks named after it (position_between): they are asked and scored, and in no sum.
// a.txt has two lines, question TAB answer. Results are one file a task, <task>.txt, two lines a picture:
// picture TAB question TAB answer TAB response.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace skymm {

enum class MmeRule : std::uint8_t {
  official,  // as MME's own script
  chinese    // answers are 是 and 否: not official, its figures do not compare with published ones
};
std::string_view name_of(MmeRule rule);

enum class MmeVerdict : std::uint8_t { yes, no, other };

// official: the response in lower case is "yes" or "no"; else, of its first four characters, those that contain "yes"
// mean yes, those that contain "no" mean no ("not sure" and "know" too), and anything else is other, which is wrong.
// Leading spaces count as characters. chinese: of the first four characters, those that contain 否 or 不 mean no, those
// that contain 是 mean yes.
MmeVerdict read_response(std::string_view response, MmeRule rule);

struct MmeQuestion {
  std::string picture;   // file name, as result files name it
  std::string path;      // of the picture
  std::string question;  // UTF-8
  std::string truth;     // Yes, No, 是 or 否
};

struct MmeTask {
  std::string name;
  std::vector<MmeQuestion> questions;  // two and two belong to a picture
};

// The tasks of an MME folder, in the order of MME's table, then parts of tasks by name; folders of other names are
// passed over with a warning. Throws Error where there is none, a picture is missing, or a file does not hold two
// questions with answers.
std::vector<MmeTask> read_mme(const std::string& dir);

struct MmeResult {
  std::string picture, question, truth, response;
};

bool is_right(const MmeResult& result);  // by the rule that follows from its truth; throws Error where that is neither

// Tabs and line ends within a response become spaces.
void write_mme_results(const std::string& path, const std::vector<MmeResult>& results);
// Throws Error that names the line, where it has not four fields, the pair is torn, or the truth is neither yes nor no.
std::vector<MmeResult> read_mme_results(const std::string& path);

struct MmeScore {
  std::string task;
  MmeRule rule = MmeRule::official;
  std::int64_t questions = 0, right = 0;
  std::int64_t pictures = 0, both_right = 0;
  std::int64_t said_yes = 0, said_other = 0;

  double acc() const { return questions > 0 ? static_cast<double>(right) / static_cast<double>(questions) : 0; }
  double acc_plus() const { return pictures > 0 ? static_cast<double>(both_right) / static_cast<double>(pictures) : 0; }
  double score() const { return 100 * (acc() + acc_plus()); }
  double yes_ratio() const {
    return questions > 0 ? static_cast<double>(said_yes) / static_cast<double>(questions) : 0;
  }
};

// The rule follows from the truth: 是 and 否 make it chinese. Throws Error where a task mixes the two.
MmeScore score_mme(const std::string& task, const std::vector<MmeResult>& results);

enum class MmeGroup : std::uint8_t { perception, cognition };
struct MmeSum {
  int tasks = 0;      // that were scored
  int all_tasks = 0;  // of MME
  double score = 0;
};
MmeSum sum_mme(const std::vector<MmeScore>& scores, MmeGroup group);
MmeScore total_mme(const std::vector<MmeScore>& scores);  // counts over all tasks; its score() is no sum of MME's

// Of every <task>.txt in a folder of result files. Throws Error where there is none.
std::vector<MmeScore> score_mme_folder(const std::string& dir);

// The table for people: a line a task, then the sums.
std::string format_mme(const std::vector<MmeScore>& scores);

}  // namespace skymm
