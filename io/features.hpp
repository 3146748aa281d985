// What a frozen ViT makes of the pictures of a data set: computed once (skymm data encode), kept in an HDF5 file beside
// it, and read in the pictures' place. Layout: docs/formats.md.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.hpp"
#include "io/dataset_shard.hpp"

namespace skymm {

struct FeatureInfo {
  std::int64_t pictures = 0, rows = 0, width = 0;  // of the whole file: [pictures, rows, width]
  DType dtype = DType::bf16;                       // or f32
  std::uint64_t dataset = 0;                       // Dataset::identity() of the set whose pictures they are
  std::map<std::string, std::string> made_by;      // all that they depend on: the ViT, its weights, the preprocessing

  std::int64_t picture_bytes() const { return rows * width * static_cast<std::int64_t>(size_of(dtype)); }
};

// Beside the data set: data/a.h5 -> data/a.features.h5, data/dataset.json or data -> data/dataset.features.h5.
std::string features_path(const std::string& dataset);

// Where the features of two runs would differ: a line a setting, "weights: 12ab in ..., 34cd here". Empty: nowhere.
std::string feature_differences(const FeatureInfo& stored, const FeatureInfo& wanted);

// Makes a file of the right size without any features in it, which several processes may then open and fill. Throws
// Error where the disk is full or the folder cannot be written.
void create_features(const std::string& path, const FeatureInfo& info);

class Features {
 public:
  enum class Access : std::uint8_t { read, write };

  // Throws Error for a file that is absent, foreign, truncated or of a newer format, saying which.
  explicit Features(std::string path, Access access = Access::read);

  const std::string& path() const { return path_; }
  const FeatureInfo& info() const { return info_; }

  // [rows, width] elements of a picture, by its number in the data set. Thread-safe. Throws Error where they are
  // damaged or were never written.
  std::string read(std::int64_t picture) const;
  // `bytes`: picture_bytes() of them.
  void write(std::int64_t picture, std::string_view bytes);
  void sync();  // what this process wrote is on disk

 private:
  std::string path_, what_;
  ShardFile file_;
  FeatureInfo info_;
  std::int64_t checksums_ = 0, values_ = 0;  // where these arrays begin in the file
};

// Elements as f32. bytes: of `dtype`, bf16 or f32.
std::vector<float> to_floats(std::string_view bytes, DType dtype);

}  // namespace skymm
