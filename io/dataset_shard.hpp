// One HDF5 file of samples: where everything lies in it. The index stays on disk: a sample costs a few short reads, and
// an open shard a few kilobytes, so that a set of any size fits in memory. Thread-safe once made.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/dataset_format.hpp"
#include "io/hdf5_structure.hpp"
#include "io/manifest.hpp"

namespace skymm {

// A file that is open for reading, and for writing if asked for.
class ShardFile {
 public:
  explicit ShardFile(const std::string& path, bool writable = false);  // throws Error where it cannot be opened
  ~ShardFile();
  ShardFile(const ShardFile&) = delete;
  ShardFile& operator=(const ShardFile&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

class DatasetShard {
 public:
  // fd: the file, open for reading; every member that reads takes it again, since descriptors are few. Checks header
  // and index. Throws Error for a file that is foreign, truncated, damaged or of a newer format, saying which.
  DatasetShard(std::string path, int fd);

  std::int64_t size() const { return samples_; }
  std::int64_t image_count() const { return images_; }
  std::uint32_t header_crc32c() const { return header_crc32c_; }
  const std::string& provenance() const { return provenance_; }
  const std::vector<std::string>& sources() const { return sources_; }

  // Of the sample at `index`, or the picture at `number`; both must be in range. Throw Error naming file and place
  // where the stored bytes are damaged.
  std::string conversation(int fd, std::int64_t index) const;
  std::string picture(int fd, std::int64_t number) const;
  std::int64_t text_bytes(int fd, std::int64_t index) const;
  Language language(int fd, std::int64_t index) const;
  const std::string& source(int fd, std::int64_t index) const;
  std::vector<std::int64_t> image_numbers(int fd, std::int64_t index) const;
  int images_of(int fd, std::int64_t index) const;

  // Whole arrays of the index.
  std::vector<std::uint8_t> languages(int fd) const;
  std::vector<std::uint16_t> source_numbers(int fd) const;
  std::vector<std::uint64_t> image_offsets(int fd) const;
  std::vector<std::uint64_t> all_image_numbers(int fd) const;
  bool has_picture_hashes() const;
  std::vector<std::uint64_t> picture_hashes(int fd) const;  // XXH64 of each picture's bytes

  void verify(int fd) const;  // reads every byte; throws Error for the first that is damaged

 private:
  // Random access to blobs of one group: byte p of it lies in the last segment that starts at or before p.
  struct Blobs {
    std::vector<std::uint64_t> starts;  // of each segment, in the group's own numbering
    std::vector<Hdf5Extent> extents;
    void open(const Hdf5Structure& file, const std::string& group, int segments);
    std::int64_t file_offset(std::uint64_t position) const;
    std::uint64_t bytes() const;
  };

  template <class T>
  T value(int fd, IndexArray array, std::int64_t i) const;
  template <class T>
  std::array<T, 2> pair(int fd, IndexArray array, std::int64_t i) const;
  template <class T>
  std::vector<T> whole(int fd, IndexArray array) const;
  const Hdf5Extent& extent(IndexArray array) const { return index_[static_cast<std::size_t>(array)]; }
  std::string blob(int fd, const Blobs& blobs, IndexArray offsets, IndexArray checksums, std::int64_t i,
                   const char* kind) const;
  void open(int fd);
  void read_header(const Hdf5Structure& file, int fd);
  void check_index(int fd) const;

  std::string path_, what_, provenance_;
  std::uint32_t header_crc32c_ = 0, index_crc32c_ = 0;
  std::int64_t samples_ = 0, images_ = 0;
  int version_ = 0, picture_segments_ = 0, sample_segments_ = 0;
  std::vector<std::string> sources_;
  std::array<Hdf5Extent, index_arrays.size()> index_;
  Blobs pictures_, conversations_;
};

// What a manifest says of a file. Throws Error as DatasetShard does.
ShardEntry describe_shard(const std::string& path);

}  // namespace skymm
