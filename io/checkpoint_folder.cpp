#include "io/checkpoint_folder.hpp"

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "core/error.hpp"
#include "core/log.hpp"
#include "io/file.hpp"

namespace skymm {
namespace {

namespace fs = std::filesystem;

// The step in "step_00000042.h5", -1 for any other name.
std::int64_t step_of(const std::string& name) {
  constexpr std::string_view prefix = "step_", suffix = ".h5";
  if (name.size() <= prefix.size() + suffix.size() || !name.starts_with(prefix) || !name.ends_with(suffix)) return -1;
  std::int64_t step = -1;
  const char* end = name.data() + name.size() - suffix.size();
  const auto [at, error] = std::from_chars(name.data() + prefix.size(), end, step);
  return error == std::errc() && at == end ? step : -1;
}

}  // namespace

std::string checkpoint_folder(const std::string& run_dir) { return run_dir + "/checkpoints"; }

std::string checkpoint_path(const std::string& folder, std::int64_t step) {
  return (fs::path(folder) / fmt::format("step_{:08}.h5", step)).string();
}

std::vector<CheckpointEntry> checkpoints_in(const std::string& folder) {
  std::vector<CheckpointEntry> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::int64_t step = step_of(entry.path().filename().string());
    if (step >= 0) found.push_back({step, entry.path().string()});
  }
  std::ranges::sort(found, std::greater<>(), &CheckpointEntry::step);
  return found;
}

std::optional<CheckpointFile> newest_checkpoint(const std::string& folder) {
  for (const CheckpointEntry& entry : checkpoints_in(folder)) {
    try {
      CheckpointFile file(entry.path);
      file.verify();
      return file;
    } catch (const Error& error) {
      log::warn("passing over a checkpoint: {}", error.message());
    }
  }
  return std::nullopt;
}

void remove_old_checkpoints(const std::string& folder, std::int64_t step, const Retention& keep,
                            const std::set<std::string>& damaged) {
  std::error_code ignored;
  int kept = 0;
  for (const CheckpointEntry& entry : checkpoints_in(folder)) {
    if (entry.step > step || damaged.contains(entry.path) || kept++ < std::max(keep.newest, 1)) continue;
    if (keep.every > 0 && entry.step % keep.every == 0) continue;
    fs::remove(entry.path, ignored);
  }
}

void set_checkpoints_aside(const std::string& folder, std::int64_t step) {
  for (const CheckpointEntry& entry : checkpoints_in(folder)) {
    if (entry.step <= step) continue;
    std::string aside = entry.path + ".abandoned";
    for (int again = 2; fs::exists(aside); ++again) aside = fmt::format("{}.abandoned-{}", entry.path, again);
    rename_file(entry.path, aside);
    log::info("this run starts again before {}, which is now {}", entry.path, aside);
  }
}

void remove_interrupted_checkpoints(const std::string& folder) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const fs::path& path = entry.path();
    if (path.extension() == ".tmp" && step_of(path.stem().string()) >= 0) fs::remove(path, ignored);
  }
}

}  // namespace skymm
