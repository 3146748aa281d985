// Checkpoints of what trains: its weights, optimizer states and the place in the data, in one HDF5 file. Layout:
// docs/formats.md. Frozen weights are not stored; their hashes are, so that a checkpoint cannot meet the wrong ones.
// A checkpoint knows no grid: it holds whole tensors by name, and resumes on any number of ranks.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/shape.hpp"

namespace skymm {

struct CheckpointTensor {
  std::string name;
  Shape shape;
  std::vector<float> value;  // f32 master weight, row-major
  std::vector<float> m, v;   // AdamW's moments; both empty where only weights are kept
};

struct Checkpoint {
  std::int64_t step = 0;  // steps done
  std::uint64_t seed = 0;
  std::int64_t position = 0;                    // places of the mixture that were trained on: where the data goes on
  std::map<std::string, std::uint64_t> frozen;  // part of the model ("vit", "llm") -> content_hash of its weights
  std::string config;                           // resolved, as INI
  std::string code_version;
  std::string metrics = "{}";  // JSON
  std::vector<CheckpointTensor> tensors;
};

// The file appears whole or not at all: on a full disk or in a read-only folder this throws Error, leaves nothing
// behind, and the checkpoints that are there stay as they are.
void save_checkpoint(const std::string& path, const Checkpoint& checkpoint);

// Throws Error where the file is absent, truncated, damaged or of a newer format, saying which.
Checkpoint load_checkpoint(const std::string& path);

struct ExpectedTensor {
  std::string name;
  Shape shape;
};
// Throws Error that lists every difference between the checkpoint and the model it is to be loaded into: tensors that
// are missing, unexpected or of another shape, and the frozen parts whose weights are others.
void check_checkpoint(const Checkpoint& checkpoint, const std::string& path,
                      const std::vector<ExpectedTensor>& expected, const std::map<std::string, std::uint64_t>& frozen);

std::string checkpoint_path(const std::string& folder, std::int64_t step);  // <folder>/step_00000042.h5

struct FoundCheckpoint {
  std::string path;
  Checkpoint checkpoint;
};
// The valid checkpoint of the highest step in `folder`; damaged ones are passed over with a warning. None where the
// folder is absent or has no valid one.
std::optional<FoundCheckpoint> newest_checkpoint(const std::string& folder);

// Removes all but the `keep` (at least one) checkpoints of the highest steps, and what an interrupted save left behind.
void remove_old_checkpoints(const std::string& folder, int keep);

}  // namespace skymm
