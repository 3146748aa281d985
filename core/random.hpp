// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
// A number depends on its key and counter only, never on which rank, thread or order asks for it.
#pragma once

#include <array>
#include <cstdint>

namespace skymm {

using PhiloxBlock = std::array<std::uint32_t, 4>;

inline PhiloxBlock philox(std::uint64_t key, PhiloxBlock counter) {
  auto k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53} * counter[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ k0, static_cast<std::uint32_t>(b),
               static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ k1, static_cast<std::uint32_t>(a)};
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
  return counter;
}

// Names one random tensor of a training step. Element e of the sample at `position` of the global batch takes word
// e % 4 of philox(seed, {step, position, operation, e / 4}): the same numbers on any grid.
struct RandomKey {
  std::uint64_t seed = 0;
  std::uint32_t step = 0;
  std::uint32_t operation = 0;  // which operation of the model asks; fixed when the model is built
};

inline std::uint32_t random_word(const RandomKey& key, std::uint32_t position, std::uint32_t element) {
  return philox(key.seed, {key.step, position, key.operation, element / 4})[element % 4];
}

// [0, 1) from the upper 24 bits.
inline float uniform(std::uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24F; }

// A sequence of numbers from one key, for set-up code: initial weights, data building, shuffles.
class RandomStream {
 public:
  explicit RandomStream(std::uint64_t seed, std::uint64_t stream = 0) : seed_(seed), stream_(stream) {}

  std::uint32_t next() {
    if (used_ == 4) {
      const std::uint64_t n = count_++;
      block_ = philox(seed_, {static_cast<std::uint32_t>(n), static_cast<std::uint32_t>(n >> 32),
                              static_cast<std::uint32_t>(stream_), static_cast<std::uint32_t>(stream_ >> 32)});
      used_ = 0;
    }
    return block_[used_++];
  }
  float uniform() { return skymm::uniform(next()); }
  std::uint32_t below(std::uint32_t n) {  // 0 .. n-1, n > 0
    return static_cast<std::uint32_t>(std::uint64_t{next()} * n >> 32);
  }
  float normal();  // mean 0, deviation 1 (Box-Muller)

 private:
  std::uint64_t seed_, stream_, count_ = 0;
  PhiloxBlock block_{};
  int used_ = 4;
  float spare_ = 0;
  bool has_spare_ = false;
};

}  // namespace skymm
