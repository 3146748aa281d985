// MMBench (Liu et al. 2023, arXiv:2307.06281): multiple-choice questions about pictures, each asked once for every
// rotation of its options. Circular evaluation: a question counts as right only if every rotation of it is.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "io/mmbench_table.hpp"
#include "launch/evaluation/language.hpp"

namespace skymm {

struct MmbenchQuestion {
  std::int64_t index = 0;  // rotation * mmbench_rotation + the question's
  std::string question, hint;
  std::string prompt;  // of these and the options
  std::vector<std::string> options;
  char answer = 'A';
  std::string category, l2_category;  // L3 and L2 ability, such as "spatial_relationship" and "FP-C"
  std::string image;                  // bytes; empty where they were not asked for
};

// The rows of a table. Where it has one row a question, rotations are made (rotation k has option (i + k) mod n in
// place i). wants_image: of a row, by its number in what is returned; asked once a row, in order. Throws Error that
// names file and line where a row cannot be used, or tells no answer.
std::vector<MmbenchQuestion> read_mmbench_table(const std::string& path,
                                                const std::function<bool(std::size_t)>& wants_image);

// `path` itself; or of a folder the tables (.tsv) that are named after a language, as en.tsv, mmbench_dev_cn_2.tsv (cn
// and zh are Chinese), or where there is none of these, its only one. Throws Error where two are of one language.
std::vector<LanguageSet> mmbench_tables(const std::string& path);

// A table of results: the questions without pictures, and the answer to each (column "prediction").
struct MmbenchResults {
  std::vector<MmbenchQuestion> questions;
  std::vector<std::string> answers;
};
void write_mmbench_results(const std::string& path, const MmbenchResults& results);
// Its rows are scored as they are: where it has no rotations, none are made, and warned of where a question lacks some.
// Throws Error as read_mmbench_table, and where there is no column "prediction".
MmbenchResults read_mmbench_results(const std::string& path);

// 'A' ..., or '\0' where the answer tells none. In this order: the one option letter that stands alone, if it is among
// the last four words (an "A" in more than three words is an article, and says nothing); "answer is X"; the one option
// whose text the answer contains, in any case.
char read_choice(std::string_view answer, const std::vector<std::string>& options);

struct MmbenchScore {
  std::string name;                                 // of an ability; "all"
  std::string l2;                                   // of an L3 ability: the one that it belongs to
  std::int64_t questions = 0, right = 0;            // circular
  std::int64_t rotations = 0, rotations_right = 0;  // each by itself
  double accuracy() const { return questions > 0 ? static_cast<double>(right) / static_cast<double>(questions) : 0; }
  double plain_accuracy() const {
    return rotations > 0 ? static_cast<double>(rotations_right) / static_cast<double>(rotations) : 0;
  }
};

struct MmbenchScores {
  MmbenchScore all;
  std::vector<MmbenchScore> l2;          // CP, FP-S, FP-C, LR, RR, AR as far as there are any, then others by name
  std::vector<MmbenchScore> l3;          // in the order of l2, then by name
  std::int64_t unread = 0;               // answers that told no option
  std::array<std::int64_t, 4> chosen{};  // how often each letter was read: a model may lean to one
};

// answers: one a question. Throws Error where two rows of a question differ in their abilities.
MmbenchScores score_mmbench(const std::vector<MmbenchQuestion>& questions, const std::vector<std::string>& answers);

std::string format_mmbench(const MmbenchScores& scores);  // for people

}  // namespace skymm
