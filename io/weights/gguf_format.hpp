// The GGUF container, versions 2 and 3 (github.com/ggml-org/ggml, docs/gguf.md): u32 magic "GGUF", u32 version, u64
// tensors, u64 key-value pairs; the pairs; the tensors' names, dimensions (the contiguous one first), types and
// offsets; padding to general.alignment; the tensors, each padded to it. Little-endian.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace skymm {

// Numbers of every width as the widest of their kind, arrays of numbers and booleans as doubles.
using GgufValue =
    std::variant<bool, std::uint64_t, std::int64_t, double, std::string, std::vector<std::string>, std::vector<double>>;
using GgufValues = std::map<std::string, GgufValue>;

// How a type stores elements: `block` of them in `bytes`. 16-bit and wider types are blocks of one.
struct GgufType {
  std::uint32_t id;
  std::string_view name;
  std::uint64_t block, bytes;
};

struct GgufTensor {
  std::string name;
  std::vector<std::uint64_t> dims;  // the contiguous one first
  const GgufType* type = nullptr;
  std::uint64_t begin = 0, end = 0;  // bytes in the file
};

struct GgufHeader {
  std::uint32_t version = 0;
  GgufValues values;
  std::vector<GgufTensor> tensors;  // in the order of their bytes
};

// Checks all of it against the bytes that are there: nothing is allocated that the file does not back, no tensor leaves
// it, overlaps another or leaves a hole. `path` is for messages, which name the byte.
GgufHeader parse_gguf(std::string_view bytes, const std::string& path);

}  // namespace skymm
