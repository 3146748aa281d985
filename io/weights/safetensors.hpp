// safetensors files: u64 little-endian N, N bytes of a JSON header, then the tensors' bytes without holes. An entry of
// the header is {"dtype", "shape", "data_offsets": [begin, end)}, offsets from the first byte after the header;
// "__metadata__" maps strings to strings. (huggingface.co/docs/safetensors)
#pragma once

#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "io/hash.hpp"
#include "io/mapped_file.hpp"
#include "io/weights/source.hpp"

namespace skymm {

// Maps the file and checks its whole header at once, so that reading cannot go astray. Every Error names the file, the
// place and the reason.
class SafetensorsReader final : public WeightSource {
 public:
  explicit SafetensorsReader(const std::string& path);

  std::string_view stored(const WeightEntry& entry) const override;

 private:
  void read_metadata(const nlohmann::json& value);
  DType values_dtype(const WeightEntry& entry) const override;
  const void* rows(const WeightEntry& entry, std::int64_t begin, std::int64_t end,
                   std::vector<char>& scratch) const override;
  void release(const WeightEntry& entry, std::uint64_t begin, std::uint64_t end) const override;

  friend class ShardedWeights;
  MappedFile file_;
};

// A tensor that is made when it is written, so that a file may be larger than memory.
struct PlannedTensor {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  std::function<Tensor()> make;  // of that dtype and shape
};

// Writes the tensors, widest elements first (so that each is aligned). The file appears whole or not at all.
void stream_safetensors(const std::string& path, const std::vector<PlannedTensor>& tensors,
                        const std::map<std::string, std::string>& metadata = {});
void write_safetensors(const std::string& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace skymm
