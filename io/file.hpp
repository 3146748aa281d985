// Whole files: read at once, and written so that a reader sees the old one or the new one, never half of one.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace skymm {

// Throws Error that says why the file cannot be read.
std::string read_file(const std::string& path);

// Writes `path`.tmp; commit() brings it to disk and renames it to `path`. Without commit() it is removed, and what was
// at `path` stays as it was. Every member throws Error with the system's reason (a full disk, a read-only folder).
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  int fd() const { return fd_; }
  const std::string& temporary() const { return temporary_; }
  void write(const void* data, std::size_t bytes);  // appends
  void write(std::string_view bytes) { write(bytes.data(), bytes.size()); }
  void commit();

 private:
  std::string path_, temporary_;
  int fd_ = -1;
};

// Renames a file that is on disk, and brings the rename to disk.
void rename_file(const std::string& from, const std::string& to);

void write_file(const std::string& path, std::string_view bytes);

}  // namespace skymm
