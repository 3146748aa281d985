// A data set, or the first samples of one, as a source of samples for the loader; with the features of its pictures in
// their place, if they are given.
#pragma once

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "io/dataset.hpp"
#include "io/features.hpp"
#include "io/sample.hpp"

namespace skymm {

class DatasetSource final : public SampleSource {
 public:
  explicit DatasetSource(std::shared_ptr<const Dataset> dataset,
                         std::int64_t limit = std::numeric_limits<std::int64_t>::max(),
                         std::shared_ptr<const Features> features = nullptr)
      : dataset_(std::move(dataset)), size_(std::min(dataset_->size(), limit)), features_(std::move(features)) {}

  std::int64_t size() const override { return size_; }
  // With features: Sample::images holds theirs.
  Sample read(std::int64_t index) const override {
    Sample sample = dataset_->read(index, features_ == nullptr);
    if (features_ == nullptr || sample.images.empty()) return sample;
    const std::vector<std::int64_t> numbers = dataset_->image_numbers(index);
    for (std::size_t i = 0; i < numbers.size(); ++i) sample.images[i] = features_->read(numbers[i]);
    return sample;
  }
  Language language(std::int64_t index) const override { return dataset_->language(index); }
  std::int64_t count(Language of) const override { return dataset_->count(of, size_); }
  std::int64_t find(Language of, std::int64_t k) const override { return dataset_->find(of, k); }
  Extent extent(std::int64_t index) const override {
    const SampleInfo info = dataset_->info(index);
    return {info.text_bytes, info.images};
  }

 private:
  std::shared_ptr<const Dataset> dataset_;
  std::int64_t size_;
  std::shared_ptr<const Features> features_;
};

}  // namespace skymm
