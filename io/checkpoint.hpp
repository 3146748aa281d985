// Checkpoints of what trains: its weights, optimizer states and the place in the data, in one HDF5 file. Layout:
// docs/formats.md. Frozen weights are not stored; their hashes are, so that a checkpoint cannot meet the wrong ones.
// A checkpoint holds logical tensors by name, and resumes on any number of ranks: each reads the elements it needs.
// Written by io/checkpoint_writer.hpp.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/shape.hpp"

namespace skymm {

// A file that frozen weights were read from.
struct WeightOrigin {
  std::string path;
  std::uint64_t bytes = 0;
  std::uint64_t hash = 0;  // XXH64 of the file; 0: not computed
};

struct CheckpointInfo {
  std::int64_t step = 0;     // steps done
  std::int64_t updates = 0;  // of them, those that changed weights: what AdamW counts
  std::uint64_t seed = 0;
  std::int64_t position = 0;                    // places of the mixture that were trained on: where the data goes on
  std::map<std::string, std::uint64_t> frozen;  // part of the model ("vit", "llm") -> content_hash of its weights
  std::vector<WeightOrigin> origins;
  std::string config;  // resolved, as INI
  std::string code_version;
  std::string metrics = "{}";  // JSON
  std::string grid;            // that it was written on, for people
};

// The f32 arrays of a tensor, in the order of the file: master weight, AdamW's moments.
inline constexpr std::array<const char*, 3> checkpoint_arrays = {"value", "m", "v"};

// A tensor as a file holds it. Each of its arrays is cut into the same pieces, which carry a checksum each, so that
// ranks write and check them without each other.
struct StoredTensor {
  std::string name;
  Shape shape;
  bool moments = true;  // false: the weight alone
  std::vector<std::int64_t>
      begins;  // the first element of each piece, ascending from 0; none where there is no element

  int arrays() const { return moments ? 3 : 1; }
  std::int64_t end(std::size_t piece) const { return piece + 1 < begins.size() ? begins[piece + 1] : shape.numel(); }
};

// What a file says of itself. Its elements are read, and checked, when they are asked for.
class CheckpointFile {
 public:
  // Opens with HDF5, by one rank. Throws Error where the file is absent, truncated, damaged or of a newer format.
  explicit CheckpointFile(const std::string& path);
  // What text() gives, for ranks that read elements alone and leave HDF5 be.
  static CheckpointFile from_text(const std::string& text);
  std::string text() const;

  const std::string& path() const { return path_; }
  int version() const { return version_; }
  const CheckpointInfo& info() const { return info_; }
  const std::vector<StoredTensor>& tensors() const { return tensors_; }
  // The index of a tensor; throws Error where there is none.
  std::size_t find(const std::string& name) const;

  // Elements [begin, end) of an array (0 value, 1 m, 2 v). Reads the pieces that these lie in, no more, and throws
  // Error where one does not have its checksum.
  void read(std::size_t tensor, int array, std::int64_t begin, std::int64_t end, float* to) const;
  std::vector<float> read_whole(std::size_t tensor, int array) const;
  // Reads everything; throws Error that names the first array that is damaged.
  void verify() const;

 private:
  CheckpointFile() = default;
  void read_structure();
  std::string place(std::size_t tensor, int array) const;  // "tensors/scale/m"

  class Descriptor;
  std::string path_;
  int version_ = 0;
  CheckpointInfo info_;
  std::vector<StoredTensor> tensors_;
  std::map<std::string, std::size_t> by_name_;
  std::vector<std::array<std::int64_t, 3>> offsets_;                  // of each tensor's arrays in the file
  std::vector<std::array<std::vector<std::uint64_t>, 3>> checksums_;  // of their pieces
  std::shared_ptr<const Descriptor> bytes_;
};

struct ExpectedTensor {
  std::string name;
  Shape shape;
};
// Every difference between the checkpoint and the model it is to be loaded into, a line a kind: tensors that are
// missing, unexpected or of another shape, and the frozen parts whose weights are others. Empty where there is none.
std::string checkpoint_differences(const CheckpointFile& checkpoint, const std::vector<ExpectedTensor>& expected,
                                   const std::map<std::string, std::uint64_t>& frozen);

}  // namespace skymm
