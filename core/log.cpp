#include "core/log.hpp"

#include <atomic>
#include <cstdio>
#include <string>

#include "core/error.hpp"

namespace skymm {
namespace {
std::atomic<LogLevel> threshold{LogLevel::info};
}

void set_log_level(LogLevel level) { threshold = level; }
LogLevel log_level() { return threshold; }

LogLevel parse_log_level(std::string_view name) {
  if (name == "debug") return LogLevel::debug;
  if (name == "info") return LogLevel::info;
  if (name == "warn") return LogLevel::warn;
  if (name == "error") return LogLevel::error;
  if (name == "silent") return LogLevel::silent;
  fail("log level '{}' is unknown; use debug, info, warn, error or silent", name);
}

namespace log {

void write(LogLevel level, std::string_view line) {
  if (level == LogLevel::info && process_rank() != 0) return;
  std::string text;
  if (level == LogLevel::info) {
    text = fmt::format("{}\n", line);
  } else {
    const char* name = level == LogLevel::debug ? "debug" : level == LogLevel::warn ? "warning" : "error";
    text = fmt::format("{} (rank {}): {}\n", name, process_rank(), line);
  }
  std::fwrite(text.data(), 1, text.size(), stderr);  // one write a line, so ranks do not interleave
}

}  // namespace log
}  // namespace skymm
