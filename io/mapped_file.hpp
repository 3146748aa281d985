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

 private:
  const char* bytes_ = nullptr;
  std::uint64_t size_ = 0;
};

}  // namespace skymm
