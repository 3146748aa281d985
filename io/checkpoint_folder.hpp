// The checkpoints of a run, in one folder.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "io/checkpoint.hpp"

namespace skymm {

std::string checkpoint_folder(const std::string& run_dir);
std::string checkpoint_path(const std::string& folder, std::int64_t step);  // <folder>/step_00000042.h5

struct CheckpointEntry {
  std::int64_t step = 0;
  std::string path;
};
// By name alone, newest first; none where there is no such folder.
std::vector<CheckpointEntry> checkpoints_in(const std::string& folder);

// The checkpoint of the highest step that is whole, every byte of it; damaged ones are passed over with a warning.
std::optional<CheckpointFile> newest_checkpoint(const std::string& folder);

struct Retention {
  int newest = 1;          // this many
  std::int64_t every = 0;  // and those of every so many steps; 0: no others
};
// After a checkpoint of `step`: removes older ones but what `keep` says. Those of higher steps and the `damaged` are
// left alone, and do not count.
void remove_old_checkpoints(const std::string& folder, std::int64_t step, const Retention& keep,
                            const std::set<std::string>& damaged = {});

// Renames those of higher steps than `step` to *.abandoned: a run that starts again from an earlier one would otherwise
// go on from them the next time. They are never read nor removed.
void set_checkpoints_aside(const std::string& folder, std::int64_t step);

// Removes what interrupted saves left behind. Not while any rank may be writing.
void remove_interrupted_checkpoints(const std::string& folder);

}  // namespace skymm
