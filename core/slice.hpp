// A piece of a logical tensor: what ZeRO shards, checkpoints and resharding speak of.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "core/shape.hpp"

namespace skymm {

// Elements [begin, end), row-major, of the tensor that is called `tensor` everywhere and has `shape` as a whole.
struct Slice {
  std::string tensor;
  Shape shape;
  std::int64_t begin = 0;
  std::int64_t end = 0;

  std::int64_t size() const { return end - begin; }
  static Slice whole(std::string name, const Shape& shape) { return {std::move(name), shape, 0, shape.numel()}; }
};

// What two slices of one tensor share; empty (size 0) where nothing.
inline Slice intersection(const Slice& a, const Slice& b) {
  const std::int64_t begin = std::max(a.begin, b.begin);
  return {a.tensor, a.shape, begin, std::max(begin, std::min(a.end, b.end))};
}

}  // namespace skymm
