// Weights in several safetensors files, by Hugging Face's model.safetensors.index.json:
// {"metadata": {...}, "weight_map": {tensor: file}}, files beside the index.
#pragma once

#include "io/weights/safetensors.hpp"

namespace skymm {

// Opens every file and checks that each has the tensors that the index says. What a file has beyond them does not
// count. entries() go file by file.
class ShardedWeights final : public WeightSource {
 public:
  explicit ShardedWeights(const std::string& index_path);

  std::vector<std::string> files() const override;
  std::string_view stored(const WeightEntry& entry) const override;

 private:
  DType values_dtype(const WeightEntry& entry) const override;
  const void* rows(const WeightEntry& entry, std::int64_t begin, std::int64_t end,
                   std::vector<char>& scratch) const override;
  void release(const WeightEntry& entry, std::uint64_t begin, std::uint64_t end) const override;

  std::vector<SafetensorsReader> shards_;
};

}  // namespace skymm
