// Samples in one HDF5 file: written once in a stream, read at random by many threads. Layout: docs/formats.md.
// Identical pictures are stored once. Every picture and every conversation carries a CRC-32C that read() checks.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/sample.hpp"

namespace skymm {

// Writes `path`.tmp; close() makes it `path`, whole and on disk. Without close() nothing is left behind.
// All members throw Error where the disk is full or the folder cannot be written. Not thread-safe.
class DatasetWriter {
 public:
  // provenance: a JSON object saying where the samples came from (seeds, packages, command).
  explicit DatasetWriter(std::string path, std::string provenance_json = "{}");
  DatasetWriter(const DatasetWriter&) = delete;
  DatasetWriter& operator=(const DatasetWriter&) = delete;
  ~DatasetWriter();

  // Returns the sample's index. Throws Error for a part that names no picture and for text that is not UTF-8.
  std::int64_t add(const Sample& sample);
  std::int64_t size() const;
  void close();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// What can be known of a sample without reading its bytes.
struct SampleInfo {
  Language language = Language::none;
  std::string_view source;      // valid as long as its Dataset
  int images = 0;               // pictures in the sample
  std::int64_t text_bytes = 0;  // stored size of the conversation, a measure of its length
};

class Dataset {
 public:
  // Throws Error for a file that is absent, foreign, truncated or of a newer format, saying which.
  explicit Dataset(std::string path);
  Dataset(Dataset&&) noexcept;
  Dataset& operator=(Dataset&&) noexcept;
  ~Dataset();

  const std::string& path() const;
  std::int64_t size() const;
  const std::string& provenance() const;

  // Thread-safe, as everything below. Throws Error naming sample and file where the stored bytes are damaged.
  // Without pictures, Sample::images holds empty strings in their places.
  Sample read(std::int64_t index, bool with_images = true) const;
  SampleInfo info(std::int64_t index) const;
  Language language(std::int64_t index) const;
  std::string_view source(std::int64_t index) const;

  // Pictures by their number in this file, so that what is computed from a shared picture can be kept once.
  std::int64_t image_count() const;
  std::vector<std::int64_t> image_numbers(std::int64_t index) const;
  std::string read_image(std::int64_t number) const;

  // Reads every byte; throws Error naming the first damaged picture or sample and its place in the file.
  void verify() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace skymm
