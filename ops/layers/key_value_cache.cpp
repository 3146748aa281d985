#include "ops/layers/key_value_cache.hpp"

#include <algorithm>

#include "core/error.hpp"

namespace skymm {
namespace {

Tensor indices(const std::vector<std::int32_t>& values, Device& device) {
  return Tensor::from(values, {static_cast<std::int64_t>(values.size())}, device);
}

}  // namespace

KeyValueCache::KeyValueCache(std::int64_t layers, const HeadCounts& heads, std::vector<std::int64_t> capacities,
                             DType dtype, Device& device)
    : device_(device), capacities_(std::move(capacities)), lengths_(capacities_.size(), 0) {
  std::vector<std::int32_t> offsets{0};
  for (const std::int64_t capacity : capacities_) {
    offsets.push_back(offsets.back() + static_cast<std::int32_t>(capacity));
  }
  attention_.key_offsets = indices(offsets, device_);
  attention_.causal = true;
  for (std::int64_t i = 0; i < layers; ++i) {
    layers_.push_back(Tensor::empty({offsets.back(), 2 * heads.keys_values * heads.width}, dtype, device_));
  }
}

void KeyValueCache::extend(std::span<const std::int64_t> counts) {
  check(counts.size() == lengths_.size(), "the cache holds {} sequences; {} were extended", lengths_.size(),
        counts.size());
  std::vector<std::int32_t> queries{0}, lengths, positions, rows;
  std::int64_t first_row = 0;
  attention_.max_queries = attention_.max_keys = 0;
  for (std::size_t s = 0; s < counts.size(); first_row += capacities_[s++]) {
    check(lengths_[s] + counts[s] <= capacities_[s], "sequence {} of {} tokens outgrows its cache of {}", s,
          lengths_[s] + counts[s], capacities_[s]);
    for (std::int64_t i = lengths_[s]; i < lengths_[s] + counts[s]; ++i) {
      positions.push_back(static_cast<std::int32_t>(i));
      rows.push_back(static_cast<std::int32_t>(first_row + i));
    }
    lengths_[s] += counts[s];
    lengths.push_back(static_cast<std::int32_t>(lengths_[s]));
    queries.push_back(static_cast<std::int32_t>(positions.size()));
    attention_.max_queries = std::max(attention_.max_queries, counts[s]);
    attention_.max_keys = std::max(attention_.max_keys, lengths_[s]);
  }
  attention_.query_offsets = indices(queries, device_);
  attention_.key_lengths = indices(lengths, device_);
  positions_ = indices(positions, device_);
  rows_ = indices(rows, device_);
}

}  // namespace skymm
