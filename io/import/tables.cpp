// Tables of captions or questions, and MMBench's.
#include <fmt/format.h>

#include "core/error.hpp"
#include "io/import/entries.hpp"
#include "io/import/record.hpp"
#include "io/mmbench_table.hpp"
#include "io/table.hpp"

namespace skymm {

void read_csv(const std::string& input, const ReaderOptions& options, RecordSink& sink) {
  TableReader table(input);
  const ColumnNames& names = options.columns;
  const int image = table.column(names_or(names.image, {"image", "image_path", "file", "filename", "path"})),
            question = table.column(names_or(names.question, {"question"})),
            answer = table.column(question >= 0 ? names_or(names.answer, {"answer"})
                                                : names_or(names.caption, {"caption", "text", "title"})),
            id = table.column(names_or(names.id, {"id", "key"}));
  check(image >= 0 && answer >= 0,
        "{}: no column holds {}; name it by --image-column, --caption-column, --question-column, --answer-column. The "
        "columns are: {}",
        input, image < 0 ? "the pictures' names" : "captions or answers", fmt::join(table.columns(), ", "));
  std::vector<std::string> fields;
  while (table.row(fields)) {
    sink.at(table.position());
    if (!sink.wants()) continue;
    Record record{.where = fmt::format("line {}", table.line())};
    const auto field = [&](int column) { return fields[static_cast<std::size_t>(column)]; };
    if (fields.size() != table.columns().size()) {
      record.refuse(Reject::malformed, fmt::format("{} fields instead of {}{}", fields.size(), table.columns().size(),
                                                   table.torn() ? ": a quote is not closed" : ""));
    } else {
      if (id >= 0) record.sample.id = field(id);
      record.image_paths.push_back(field(image));
      fill_pair(question >= 0 ? field(question) : "", field(answer), record);
    }
    if (!sink.put(std::move(record))) return;
  }
}

void read_mmbench(const std::string& input, const ReaderOptions&, RecordSink& sink) {
  MmbenchTable table(input);
  MmbenchRow row;
  while (table.next(row, true)) {
    sink.at(table.position());
    if (!sink.wants()) continue;
    Record record{.where = fmt::format("line {}", table.line())};
    record.sample.id = std::to_string(row.index);
    if (!row.problem.empty()) {
      record.refuse(Reject::malformed, row.problem);
    } else if (row.answer == '\0') {
      record.refuse(Reject::no_answer, "the table does not tell the answer");
    } else {
      record.sample.images.push_back(std::move(row.image));
      fill_pair(mmbench_prompt(row), std::string(1, row.answer), record);
      record.sample.parts.back().task = row.l2_category;
    }
    if (!sink.put(std::move(record))) return;
  }
}

}  // namespace skymm
