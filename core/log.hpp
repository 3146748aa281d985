// Leveled logging to stderr. info() speaks on rank 0 only; warn() and error() on every rank, with its number.
#pragma once

#include <fmt/format.h>

#include <string_view>

namespace skymm {

enum class LogLevel { debug, info, warn, error, silent };

void set_log_level(LogLevel level);
LogLevel log_level();
// "debug", "info", "warn", "error" or "silent"; throws Error on anything else.
LogLevel parse_log_level(std::string_view name);

namespace log {

void write(LogLevel level, std::string_view line);

template <class... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  if (log_level() <= LogLevel::debug) write(LogLevel::debug, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  if (log_level() <= LogLevel::info) write(LogLevel::info, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void warn(fmt::format_string<Args...> format, Args&&... args) {
  if (log_level() <= LogLevel::warn) write(LogLevel::warn, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  if (log_level() <= LogLevel::error) write(LogLevel::error, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace log
}  // namespace skymm
