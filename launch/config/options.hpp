// Small parts that the command line and recipes share: an error of usage, nearest names, strict values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
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
double parse_number(std::string_view text);          // finite
std::int64_t parse_count(std::string_view text);     // a whole number from 0
std::int64_t parse_positive(std::string_view text);  // a whole number from 1
bool parse_bool(std::string_view text);              // true or false
double parse_size(std::string_view text);            // bytes, more than 0: "80G", "512M", "1e9"

std::string_view trimmed(std::string_view text);
std::vector<std::string> split_list(std::string_view text);  // at commas, trimmed; "none" or "" is the empty list

// An option of a command line: --name VALUE.
struct Flag {
  const char* name;
  const char* value;
  const char* help;
};

// The arguments of a command: what stands alone, and --name VALUE or --name=VALUE.
struct Arguments {
  std::vector<std::string> positional;
  std::vector<std::pair<std::string, std::string>> named;  // in their order
  bool help = false;                                       // --help or -h: nothing else was looked at
  std::string command;                                     // for messages

  const std::string* find(std::string_view name) const;  // null where absent
  // The value as parsed by one of the functions above, `otherwise` where absent. Throws UsageError naming the option.
  template <class T, class Parse>
  T get(std::string_view name, Parse parse, T otherwise) const;
  // The value; "" where absent.
  std::string text(std::string_view name) const;
  // The value of what must be there. Throws UsageError where it is absent or empty.
  std::string required(std::string_view name) const;
};

// Throws UsageError for an option that `flags` lacks (with the nearest name), one without its value, one given twice
// unless it is in `repeatable`, and for more than `most_positional` words. `command` ("skymm data inspect") is named.
Arguments parse_arguments(const std::string& command, const std::vector<Flag>& flags,
                          const std::vector<std::string>& arguments, std::size_t most_positional,
                          const std::vector<std::string>& repeatable = {});

// Flags with their help, in two columns.
std::string flags_help(const std::vector<Flag>& flags);
// "  name   help", the help wrapped in a column of its own.
std::string help_entry(const std::string& name, const std::string& help, std::size_t column);

// The words of `text` in lines of at most `width` columns.
std::vector<std::string> wrapped(std::string_view text, std::size_t width);

template <class T, class Parse>
T Arguments::get(std::string_view name, Parse parse, T otherwise) const {
  const std::string* text = find(name);
  if (text == nullptr) return otherwise;
  try {
    return static_cast<T>(parse(*text));
  } catch (const Error& error) {
    fail_usage("--{}: {}", name, error.message());
  }
}

}  // namespace skymm
