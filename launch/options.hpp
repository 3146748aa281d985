// Small parts that the command line and recipes share: an error of usage, nearest names, strict values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"

namespace skymm {

// The caller asked for something that does not exist: exit code 2, where other errors give 1.
class UsageError : public Error {
 public:
  explicit UsageError(const std::string& message, std::source_location where = std::source_location::current())
      : Error(message, where) {}
};

template <class... Args>
[[noreturn]] void fail_usage(LocatedFormat<std::type_identity_t<Args>...> message, Args&&... args) {
  throw UsageError(fmt::format(message.format, std::forward<Args>(args)...), message.where);
}

// Insertions, deletions, substitutions and swaps of neighbours that turn a into b.
int edit_distance(std::string_view a, std::string_view b);
// The candidate that `name` most likely means, or "" where none is near. The part after the last dot may stand alone.
std::string nearest(std::string_view name, const std::vector<std::string>& candidates);

// The whole text as a value; throws Error that quotes it and says what would be one.
std::int64_t parse_integer(std::string_view text);
std::uint64_t parse_unsigned(std::string_view text);
double parse_number(std::string_view text);  // finite
bool parse_bool(std::string_view text);      // true or false

std::string_view trimmed(std::string_view text);
std::vector<std::string> split_list(std::string_view text);  // at commas, trimmed; "none" or "" is the empty list

// The words of `text` in lines of at most `width` columns.
std::vector<std::string> wrapped(std::string_view text, std::size_t width);

}  // namespace skymm
