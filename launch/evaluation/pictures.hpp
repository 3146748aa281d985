// The pictures of prompts that go through the model together.
#pragma once

#include <string_view>
#include <unordered_map>
#include <vector>

#include "io/pixels.hpp"
#include "io/sample.hpp"
#include "ops/models/multimodal.hpp"

namespace skymm {

// Distinct ones alone: several questions about one picture cost the ViT once. The samples must outlive it.
class Pictures {
 public:
  explicit Pictures(const ImageSpec& spec) : spec_(spec) {}

  // The number of a sample's picture. Throws Error that names the sample where the picture cannot be read.
  std::int64_t add(const Sample& sample, std::size_t image);
  std::int64_t size() const { return static_cast<std::int64_t>(numbers_.size()); }

  // Batch::features of the pictures of these numbers, [their count * patches, width], on the model's device; undefined
  // where there is no picture.
  Tensor features(Multimodal& model, const std::vector<std::int64_t>& numbers) const;

 private:
  ImageSpec spec_;
  std::unordered_map<std::string_view, std::int64_t> numbers_;  // by their bytes
  std::vector<float> pixels_;
};

}  // namespace skymm
