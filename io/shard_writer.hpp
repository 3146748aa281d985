// Writes one HDF5 file of samples in a stream; a data set is one such file, or several and a manifest.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "io/manifest.hpp"
#include "io/sample.hpp"

namespace skymm {

// Writes `path`.tmp; close() makes it `path`, whole and on disk. Without close() nothing is left behind.
// All members throw Error where the disk is full or the folder cannot be written. Not thread-safe.
class ShardWriter {
 public:
  explicit ShardWriter(std::string path);
  ShardWriter(const ShardWriter&) = delete;
  ShardWriter& operator=(const ShardWriter&) = delete;
  ~ShardWriter();

  // Returns the sample's index. Throws Error for a part that names no picture and for text that is not UTF-8.
  std::int64_t add(const Sample& sample);
  std::int64_t size() const;
  std::int64_t bytes() const;  // of pictures and conversations so far
  // provenance_json: what the header keeps about the samples' origin. Returns what a manifest says of the file.
  ShardEntry close(const std::string& provenance_json);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace skymm
