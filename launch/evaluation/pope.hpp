// POPE (Li et al. 2023, arXiv:2305.10355): yes/no questions about objects in pictures; those that are absent are drawn
// at random, from the most frequent ("popular"), or from those that often stand beside the present ones
// ("adversarial"). A JSON object a line: {"question_id", "image", "text", "label": "yes" or "no"}.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace skymm {

struct PopeQuestion {
  std::string id, image, text;
  bool yes = false;  // the label
};

struct PopeSplit {
  std::string name;  // random, popular, adversarial, or the file's
  std::vector<PopeQuestion> questions;
};

// A file, or the files of a folder whose names hold random, popular or adversarial. Throws Error that names file and
// line where a line is not as above.
std::vector<PopeSplit> read_pope_splits(const std::string& path);

// The first sentence, commas left out: one of the words No, not, no means no, anything else yes.
bool pope_says_yes(std::string_view answer);

struct PopeScore {
  std::string split;
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

std::string format_pope(const std::vector<PopeScore>& scores);  // for people, a line a split

}  // namespace skymm
