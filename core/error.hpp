// Errors that speak: what happened, where, on which rank, and what to do about it.
#pragma once

#include <fmt/format.h>

#include <source_location>
#include <stdexcept>
#include <string>

namespace skymm {

// The rank that messages carry. Set once by launch/ after MPI starts; 0 before.
void set_process_rank(int rank);
int process_rank();

// The one exception type of the project. what() is the whole line for a person:
//   "rank 1: image cat.jpg is truncated at byte 512; remove it or fetch it again [io/image.cpp:42]"
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, std::source_location where = std::source_location::current());

  const std::string& message() const { return message_; }  // without rank and place
  std::string message_and_place() const;
  int rank() const { return rank_; }
  const std::source_location& where() const { return where_; }

 private:
  std::string message_;
  int rank_;
  std::source_location where_;
};

// A format string that remembers where it was written, so that fail() and check() need no macro.
template <class... Args>
struct LocatedFormat {
  template <class String>
  consteval LocatedFormat(const String& text, std::source_location place = std::source_location::current())
      : format(text), where(place) {}

  fmt::format_string<Args...> format;
  std::source_location where;
};

template <class... Args>
[[noreturn]] void fail(LocatedFormat<std::type_identity_t<Args>...> message, Args&&... args) {
  throw Error(fmt::format(message.format, std::forward<Args>(args)...), message.where);
}

// Throws Error unless `ok`. The message is formatted only on failure.
template <class... Args>
void check(bool ok, LocatedFormat<std::type_identity_t<Args>...> message, Args&&... args) {
  if (!ok) throw Error(fmt::format(message.format, std::forward<Args>(args)...), message.where);
}

}  // namespace skymm
