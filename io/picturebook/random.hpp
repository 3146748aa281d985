// Random numbers of the picture book: the same on every machine and library, and independent of the order of the work,
// since each scene has its own generator keyed by (seed, stream, index).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace skymm {

// SplitMix64 (Steele, Lea, Flood 2014): a Weyl counter put through a 64-bit finalizer.
class Random {
 public:
  Random(std::uint64_t seed, std::uint64_t stream, std::uint64_t index)
      : state_(mix(mix(mix(seed) ^ stream) ^ index)) {}

  std::uint64_t next() { return mix(state_ += 0x9E3779B97F4A7C15u); }
  // Uniform in [0, n), n at most 2^32; the bias of the multiplication is below 2^-32.
  int below(int n) { return static_cast<int>((next() >> 32) * static_cast<std::uint64_t>(n) >> 32); }
  int between(int first, int last) { return first + below(last - first + 1); }  // both included
  bool coin() { return next() >> 63; }
  bool chance(int percent) { return below(100) < percent; }
  template <class T>
  const T& pick(const std::vector<T>& values) {
    return values[static_cast<std::size_t>(below(static_cast<int>(values.size())))];
  }

  static std::uint64_t mix(std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }

 private:
  std::uint64_t state_;
};

}  // namespace skymm
