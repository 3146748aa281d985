// A data set, or the first samples of one, as a source of samples for the loader.
#pragma once

#include <algorithm>
#include <limits>
#include <memory>

#include "io/dataset.hpp"
#include "io/sample.hpp"

namespace skymm {

class DatasetSource final : public SampleSource {
 public:
  explicit DatasetSource(std::shared_ptr<const Dataset> dataset,
                         std::int64_t limit = std::numeric_limits<std::int64_t>::max())
      : dataset_(std::move(dataset)), size_(std::min(dataset_->size(), limit)) {}

  std::int64_t size() const override { return size_; }
  Sample read(std::int64_t index) const override { return dataset_->read(index); }
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
};

}  // namespace skymm
