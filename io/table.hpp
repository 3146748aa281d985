// A table in text, a row at a time: commas or tabs between fields, quotes around those that hold such characters or
// line ends, a quote within doubled (RFC 4180; pandas' to_csv).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/byte_stream.hpp"

namespace skymm {

class TableReader {
 public:
  // Reads the header. Throws Error where the file cannot be opened or has none. separator 0: tab where the name ends in
  // .tsv or .txt, else comma.
  explicit TableReader(const std::string& path, char separator = 0);

  const std::vector<std::string>& columns() const { return columns_; }
  // Of the first of these names that a column has; -1 where none has.
  int column(const std::vector<std::string>& names) const;

  // The next row's fields; false at the end. A row has as many fields as the header has, unless it is malformed. A
  // field longer than 256 MiB is cut.
  bool row(std::vector<std::string>& fields);
  std::int64_t line() const { return row_line_; }  // on which the row began, from 1
  std::int64_t position() const { return file_.position(); }
  bool torn() const { return torn_; }  // the last row ended within a quoted field

 private:
  ByteStream file_;
  char separator_;
  std::vector<std::string> columns_;
  std::int64_t next_line_ = 1, row_line_ = 0;
  bool torn_ = false;
};

}  // namespace skymm
