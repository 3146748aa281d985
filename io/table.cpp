#include "io/table.hpp"

#include <algorithm>

#include "core/error.hpp"

namespace skymm {
namespace {

constexpr std::size_t longest_field = std::size_t{256} << 20;

char separator_of(const std::string& path) { return path.ends_with(".tsv") || path.ends_with(".txt") ? '\t' : ','; }

}  // namespace

TableReader::TableReader(const std::string& path, char separator)
    : file_(path), separator_(separator != 0 ? separator : separator_of(path)) {
  const bool has_header = row(columns_);
  check(has_header, "{} is empty: a table starts with a line of column names", path);
  constexpr std::string_view mark = "\xEF\xBB\xBF";  // spreadsheets put it in front
  if (columns_[0].starts_with(mark)) columns_[0].erase(0, mark.size());
}

int TableReader::column(const std::vector<std::string>& names) const {
  for (const std::string& name : names) {
    const auto found = std::ranges::find(columns_, name);
    if (found != columns_.end()) return static_cast<int>(found - columns_.begin());
  }
  return -1;
}

bool TableReader::row(std::vector<std::string>& fields) {
  fields.clear();
  while (!file_.end() && (file_.peek() == '\n' || file_.peek() == '\r')) {  // empty lines
    next_line_ += file_.peek() == '\n';
    file_.skip();
  }
  if (file_.end()) return false;
  row_line_ = next_line_;
  fields.emplace_back();
  bool quoted = false, field_begins = true;
  torn_ = false;
  while (!file_.end()) {
    const char c = file_.peek();
    file_.skip();
    next_line_ += c == '\n';
    std::string& field = fields.back();
    if (quoted) {
      if (c != '"') {
        if (field.size() < longest_field) field += c;
      } else if (!file_.end() && file_.peek() == '"') {
        field += '"';
        file_.skip();
      } else {
        quoted = false;
      }
    } else if (c == '"' && field_begins) {
      quoted = true;
    } else if (c == separator_) {
      fields.emplace_back();
      field_begins = true;
      continue;
    } else if (c == '\n') {
      break;
    } else if (c != '\r' && field.size() < longest_field) {
      field += c;
    }
    field_begins = false;
  }
  torn_ = quoted;
  return true;
}

}  // namespace skymm
