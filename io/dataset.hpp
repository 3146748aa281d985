// Samples in one HDF5 file, or in several ("shards") and a manifest: written once in a stream, read at random by many
// threads. Layout: docs/formats.md. Identical pictures of a file are stored once. Every picture and every conversation
// carries a CRC-32C that read() checks.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/sample.hpp"

namespace skymm {

constexpr std::int64_t default_shard_bytes = std::int64_t{1} << 30;

// A path that ends in .json becomes a manifest: its shards lie beside it (name-00000.h5, ...), each closed once it
// holds `shard_bytes`; any other path is one file. Files appear under their names when close() returns, whole and on
// disk; without close() nothing is left behind. All members throw Error where the disk is full or the folder cannot be
// written, and where a manifest of that name exists: the shards of a set are not replaced one by one. Not thread-safe.
class DatasetWriter {
 public:
  // provenance: a JSON object saying where the samples came from (seeds, packages, command).
  explicit DatasetWriter(std::string path, std::string provenance_json = "{}",
                         std::int64_t shard_bytes = default_shard_bytes);
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

// Opens a file, a manifest (.json), or a folder with a manifest named dataset.json. Of a manifest's shards only the
// sizes are looked at; each is opened when it is first read from. The index stays on disk.
class Dataset {
 public:
  // Throws Error for a file that is absent, foreign, truncated or of a newer format, saying which.
  explicit Dataset(std::string path);
  Dataset(Dataset&&) noexcept;
  Dataset& operator=(Dataset&&) noexcept;
  ~Dataset();

  const std::string& path() const;
  std::int64_t size() const;
  std::int64_t shard_count() const;
  const std::string& provenance() const;
  // Of the content: another for other samples or pictures, or another order of them. From the shards' checksums alone.
  std::uint64_t identity() const;

  // Thread-safe, as everything below. Throws Error naming sample and file where the stored bytes are damaged.
  // Without pictures, Sample::images holds empty strings in their places.
  Sample read(std::int64_t index, bool with_images = true) const;
  SampleInfo info(std::int64_t index) const;
  Language language(std::int64_t index) const;
  std::string_view source(std::int64_t index) const;

  // Of the samples in front of `end`, those of a language; and the index of the k-th sample of a language (from 0).
  std::int64_t count(Language language, std::int64_t end) const;
  std::int64_t find(Language language, std::int64_t k) const;
  std::map<std::string, std::int64_t> source_counts() const;  // samples of each source; reads one array a shard

  // Pictures by their number in this set, so that what is computed from a shared picture can be kept once.
  std::int64_t image_count() const;
  std::vector<std::int64_t> image_numbers(std::int64_t index) const;
  std::string read_image(std::int64_t number) const;

  // Reads every byte; throws Error naming the first damaged picture or sample and its place in the file.
  void verify() const;
  // The same of all shards: what is wrong with each damaged one. Empty where all are whole.
  std::vector<std::string> find_damage() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace skymm
