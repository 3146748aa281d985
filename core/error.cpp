#include "core/error.hpp"

#include <atomic>
#include <string_view>

namespace skymm {
namespace {

std::atomic<int> current_rank{0};

// The path below the source root, whatever directory the compiler was called from.
std::string_view short_path(std::string_view path) {
  for (std::string_view top : {"core/", "ops/", "parallel/", "io/", "launch/", "tests/", "bench/"}) {
    if (const auto at = path.rfind(fmt::format("/{}", top)); at != std::string_view::npos) return path.substr(at + 1);
  }
  return path;
}

std::string placed(const std::string& message, const std::source_location& where) {
  return fmt::format("{} [{}:{}]", message, short_path(where.file_name()), where.line());
}

}  // namespace

void set_process_rank(int rank) { current_rank = rank; }
int process_rank() { return current_rank; }

Error::Error(const std::string& message, std::source_location where)
    : std::runtime_error(fmt::format("rank {}: {}", process_rank(), placed(message, where))),
      message_(message),
      rank_(process_rank()),
      where_(where) {}

std::string Error::message_and_place() const { return placed(message_, where_); }

}  // namespace skymm
