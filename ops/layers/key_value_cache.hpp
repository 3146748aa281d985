// Keys and values of the tokens that sequences have so far, layer by layer, so that a further token costs one row and
// not the whole sequence again. Sequences are of different lengths and grow on their own.
//
//   KeyValueCache cache(layers, heads, capacities, dtype, device);
//   cache.extend(lengths_of_prompts);      // then a forward pass over the prompts, one after the other
//   cache.extend({1, 0, 1});               // then one over a token of the first and the third
#pragma once

#include <span>
#include <vector>

#include "ops/functions/attention.hpp"

namespace skymm {

class KeyValueCache {
 public:
  // capacities[s]: tokens that sequence s has at most.
  KeyValueCache(std::int64_t layers, const HeadCounts& heads, std::vector<std::int64_t> capacities, DType dtype,
                Device& device);

  // Makes room for counts[s] further tokens of each sequence s. The next forward pass runs over just these, sequence by
  // sequence, and fills it. Throws Error where a sequence outgrows its capacity.
  void extend(std::span<const std::int64_t> counts);

  // Of the tokens that extend() was last called for:
  const AttentionShape& attention() const { return attention_; }  // causal; its scale is set by the layer
  const Tensor& positions() const { return positions_; }          // i32 [T]
  const Tensor& rows() const { return rows_; }                    // i32 [T]: where a layer's keys and values go

  // [sum of capacities, 2 Hkv D] = [k | v]
  const Tensor& layer(std::int64_t i) const { return layers_.at(static_cast<std::size_t>(i)); }
  std::int64_t length(std::size_t sequence) const { return lengths_.at(sequence); }

 private:
  Device& device_;
  std::vector<std::int64_t> capacities_, lengths_;
  std::vector<Tensor> layers_;
  AttentionShape attention_;
  Tensor positions_, rows_;
};

}  // namespace skymm
