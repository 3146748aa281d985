#include "io/mmbench_table.hpp"

#include <charconv>

#include "core/error.hpp"
#include "io/base64.hpp"

namespace skymm {
namespace {

// A picture is longer; anything shorter is the index of another row.
constexpr std::size_t longest_reference = 64;

bool parse_index(const std::string& text, std::int64_t& value) {
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  return code == std::errc() && end == text.data() + text.size() && value >= 0;
}

}  // namespace

std::string mmbench_prompt(const MmbenchRow& row) {
  std::string prompt;
  if (!row.hint.empty()) prompt += fmt::format("Hint: {}\n", row.hint);
  prompt += fmt::format("Question: {}\n", row.question);
  if (!row.options.empty()) prompt += "Options:\n";
  for (std::size_t i = 0; i < row.options.size(); ++i) {
    prompt += fmt::format("{}. {}\n", static_cast<char>('A' + i), row.options[i]);
  }
  return prompt + "Please select the correct answer from the options above. \n";
}

MmbenchTable::MmbenchTable(const std::string& path) : table_(path, '\t') {
  const auto column = [&](const char* name) { return table_.column({name}); };
  index_ = column("index"), question_ = column("question"), hint_ = column("hint"), answer_ = column("answer");
  category_ = column("category"), l2_category_ = table_.column({"l2-category", "l2_category"}),
  image_ = column("image"), prediction_ = column("prediction");
  for (int i = 0; i < 4; ++i)
    options_[static_cast<std::size_t>(i)] = column(std::string(1, static_cast<char>('A' + i)).c_str());
  for (const auto& [name, place] :
       {std::pair{"index", index_}, {"question", question_}, {"image", image_}, {"A", options_[0]}}) {
    if (std::string_view(name) == "image" && has_predictions()) continue;
    check(place >= 0, "{} has no column '{}'; an MMBench table has index, question, hint, A to D, answer, image", path,
          name);
  }
}

std::string MmbenchTable::field(const std::vector<std::string>& fields, int column) const {
  std::string text = column < 0 ? "" : fields[static_cast<std::size_t>(column)];
  return text == "nan" ? "" : text;  // as pandas writes an empty cell
}

bool MmbenchTable::next(MmbenchRow& row, bool with_image) {
  row = {};
  if (!table_.row(fields_)) return false;
  if (fields_.size() != table_.columns().size()) {
    row.problem = fmt::format("{} fields instead of {}", fields_.size(), table_.columns().size());
  } else {
    decode(fields_, with_image, row);
  }
  return true;
}

void MmbenchTable::decode(const std::vector<std::string>& fields, bool with_image, MmbenchRow& row) {
  if (!parse_index(field(fields, index_), row.index)) {
    row.problem = fmt::format("'{}' is no index", field(fields, index_).substr(0, 40));
    return;
  }
  row.question = field(fields, question_);
  row.hint = field(fields, hint_);
  for (const int column : options_) {
    const std::string option = field(fields, column);
    if (option.empty()) break;
    row.options.push_back(option);
  }
  row.category = field(fields, category_);
  row.l2_category = field(fields, l2_category_);
  row.prediction = field(fields, prediction_);
  const std::string answer = field(fields, answer_);
  if (answer.size() == 1 && answer[0] >= 'A' && answer[0] < static_cast<char>('A' + row.options.size())) {
    row.answer = answer[0];
  } else if (!answer.empty()) {
    row.problem = fmt::format("the answer '{}' is none of its {} options", answer.substr(0, 40), row.options.size());
  }
  if (row.options.size() < 2) row.problem = "it has fewer than two options";
  if (with_image && row.problem.empty()) decode_picture(field(fields, image_), row);
}

void MmbenchTable::decode_picture(const std::string& field, MmbenchRow& row) {
  const std::string* text = &field;
  if (field.size() <= longest_reference) {
    std::int64_t other = 0;
    const auto found = parse_index(field, other) ? pictures_.find(other) : pictures_.end();
    if (found == pictures_.end()) {
      row.problem = "it has no picture";
      return;
    }
    text = &found->second;
  } else if (row.index < mmbench_rotation) {
    pictures_[row.index] = field;
  }
  auto bytes = decode_base64(*text);
  if (bytes) {
    row.image = std::move(*bytes);
  } else {
    row.problem = "its picture is no base64";
  }
}

}  // namespace skymm
