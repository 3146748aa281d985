// A whole file in memory, read-only, loaded by the system as its pages are touched.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace skymm {

class MappedFile {
 public:
  // Throws Error that says why the file cannot be mapped. An empty file is one with no bytes.
  explicit MappedFile(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  const char* data() const { return bytes_; }
  std::uint64_t size() const { return size_; }
  std::string_view bytes() const { return {bytes_, size_}; }

  // The bytes [begin, end) are not needed for now: this process gives their memory back, and loads them anew if they
  // are.
  void release(std::uint64_t begin, std::uint64_t end) const;

 private:
  const char* bytes_ = nullptr;
  std::uint64_t size_ = 0;
};

}  // namespace skymm
