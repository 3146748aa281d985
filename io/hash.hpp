// Fast content hashes: which weights does an adapter belong to, is a checkpoint whole. Not for secrets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.hpp"

namespace skymm {

// XXH64 (the xxHash specification, 0.1.1), of bytes that come in pieces: digest() depends on the bytes alone.
class Hash64 {
 public:
  explicit Hash64(std::uint64_t seed = 0);
  void add(const void* data, std::size_t bytes);
  template <class T>
  void add_value(const T& value) {
    add(&value, sizeof value);
  }
  std::uint64_t digest() const;

 private:
  std::uint64_t seed_, lanes_[4];
  unsigned char rest_[32];
  std::size_t kept_ = 0;
  std::uint64_t total_ = 0;
};

std::uint64_t hash64(const void* data, std::size_t bytes);

using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

// Of names, dtypes, shapes and elements; the order of the tensors does not matter. Blocks until they are computed.
std::uint64_t content_hash(const NamedTensors& tensors);

}  // namespace skymm
