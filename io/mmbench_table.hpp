// The rows of an MMBench table (Liu et al. 2023, arXiv:2307.06281): a TSV with the columns index, question, hint, A to
// D, answer, category, image (base64), l2-category. The rotations of a question's options are rows of their own, with
// index k * 1000000 + the question's. A table of results has the model's answers as prediction, and may lack the image.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "io/table.hpp"

namespace skymm {

constexpr std::int64_t mmbench_rotation = 1'000'000;

struct MmbenchRow {
  std::int64_t index = 0;
  std::string question, hint;
  std::vector<std::string> options;  // of A, B, ...; those that are there
  char answer = '\0';                // 'A' ...; '\0': the table does not tell (a test split)
  std::string category, l2_category;
  std::string image;       // the picture's bytes
  std::string prediction;  // of a table of results
  std::string problem;     // why the row cannot be used; empty: it can
};

// "Hint: ...\nQuestion: ...\nOptions:\nA. ...\nPlease select the correct answer from the options above. \n"
std::string mmbench_prompt(const MmbenchRow& row);

class MmbenchTable {
 public:
  explicit MmbenchTable(const std::string& path);  // throws Error where a column is missing
  bool has_predictions() const { return prediction_ >= 0; }

  // The next row; false at the end. Pictures are decoded only where asked for: a row may name another row's index in
  // place of its picture, and then has its picture only if that row was read with pictures.
  bool next(MmbenchRow& row, bool with_image);
  std::int64_t line() const { return table_.line(); }
  std::int64_t position() const { return table_.position(); }

 private:
  void decode(const std::vector<std::string>& fields, bool with_image, MmbenchRow& row);
  void decode_picture(const std::string& field, MmbenchRow& row);
  std::string field(const std::vector<std::string>& fields, int column) const;

  TableReader table_;
  int index_, question_, hint_, answer_, category_, l2_category_, image_, prediction_;
  std::array<int, 4> options_;
  std::vector<std::string> fields_;
  std::unordered_map<std::int64_t, std::string> pictures_;  // of rows that others may name; base64
};

}  // namespace skymm
