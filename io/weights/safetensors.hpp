// safetensors files: u64 little-endian N, N bytes of a JSON header, then the tensors' bytes without holes. An entry of
// the header is {"dtype", "shape", "data_offsets": [begin, end)}, offsets from the first byte after the header;
// "__metadata__" maps strings to strings. (huggingface.co/docs/safetensors)
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/tensor.hpp"
#include "io/hash.hpp"

namespace skymm {

struct SafetensorsEntry {
  std::string name;
  std::string dtype;  // the file's: "F32", "BF16", ...
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0, end = 0;  // bytes in the file
};

// Maps the file and checks its whole header at once, so that read() cannot go astray. Every Error names the file, the
// place and the reason.
class SafetensorsReader {
 public:
  explicit SafetensorsReader(const std::string& path);
  SafetensorsReader(SafetensorsReader&& other) noexcept;
  SafetensorsReader& operator=(SafetensorsReader&& other) noexcept;
  ~SafetensorsReader();

  const std::string& path() const { return path_; }
  const std::vector<SafetensorsEntry>& entries() const { return entries_; }  // in the order of their bytes
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  bool contains(const std::string& name) const { return index_.contains(name); }
  const SafetensorsEntry& entry(const std::string& name) const;  // throws Error where there is none

  // A copy. Throws Error where the tensor is absent, has a dtype that Tensor has not, or more than six dimensions.
  Tensor read(const std::string& name, Device& device = cpu()) const;

 private:
  void parse();

  std::string path_;
  const char* bytes_ = nullptr;
  std::uint64_t size_ = 0;
  std::vector<SafetensorsEntry> entries_;
  std::unordered_map<std::string, std::size_t> index_;
  std::map<std::string, std::string> metadata_;
};

// Writes the tensors, widest elements first (so that each is aligned). The file appears whole or not at all.
void write_safetensors(const std::string& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace skymm
