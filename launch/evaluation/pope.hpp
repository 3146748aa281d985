// POPE (Li et al. 2023, arXiv:2305.10355): yes/no questions about objects in pictures; those that are absent are drawn
// at random, from the most frequent ("popular"), or from those that often stand beside the present ones
// ("adversarial"). A JSON object a line: {"question_id", "image", "text", "label": "yes" or "no"}; 是 or 否 in sets of
// this project's form, which are no part of POPE. A file of results has "answer" besides.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace skymm {

enum class PopeRule : std::uint8_t {
  official,  // as POPE's own script
  chinese    // questions and answers are Chinese: not official, its figures do not compare with published ones
};
std::string_view name_of(PopeRule rule);

struct PopeQuestion {
  std::string id, image, text;
  bool yes = false;  // the label
};

struct PopeSplit {
  std::string name;  // random, popular, adversarial, or the file's
  std::vector<PopeQuestion> questions;
  PopeRule rule = PopeRule::official;  // chinese where the labels or the questions are Chinese
};

// A file, or the files of a folder whose names hold random, popular or adversarial. Throws Error that names file and
// line where a line is not as above, or its label is of another language than the one before.
std::vector<PopeSplit> read_pope_splits(const std::string& path);

struct PopeResults {
  PopeSplit split;
  std::vector<std::string> answers;  // one a question
};

// A line a question: the question's own, with "answer".
void write_pope_results(const std::string& path, const PopeResults& results);
// The same of a file or folder as read_pope_splits takes. Throws Error as that, and where a line has no answer.
std::vector<PopeResults> read_pope_results(const std::string& path);

// official: the first sentence, commas left out: one of the words No, not, no means no, anything else yes.
// chinese: a first sentence that begins with 是 or 有 means yes; else one that contains 否, 不 or 没, or is no by the
// official rule, means no; anything else yes.
bool pope_says_yes(std::string_view answer, PopeRule rule = PopeRule::official);

struct PopeScore {
  std::string split;
  PopeRule rule = PopeRule::official;
  std::int64_t true_yes = 0, false_yes = 0, true_no = 0, false_no = 0;  // yes is the positive

  std::int64_t questions() const { return true_yes + false_yes + true_no + false_no; }
  double accuracy() const { return share(true_yes + true_no, questions()); }
  double precision() const { return share(true_yes, true_yes + false_yes); }
  double recall() const { return share(true_yes, true_yes + false_no); }
  double f1() const { return share(2 * true_yes, 2 * true_yes + false_yes + false_no); }
  double yes_ratio() const { return share(true_yes + false_yes, questions()); }

 private:
  static double share(std::int64_t part, std::int64_t of) {
    return of > 0 ? static_cast<double>(part) / static_cast<double>(of) : 0;
  }
};

// answers: one a question.
PopeScore score_pope(const PopeSplit& split, const std::vector<std::string>& answers);

std::string format_pope(const std::vector<PopeScore>& scores);  // for people: a line a split, then the rule

}  // namespace skymm
