// Which sample stands at which place of training, as a function of the place alone. There is no state: any rank can ask
// for any place, so a run resumes exactly, on any number of ranks. Global batch b holds the places [b B, (b + 1) B).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "io/sample.hpp"

namespace skymm {

// A keyed bijection of [0, n): a balanced Feistel network whose round function is Philox, on the smallest even number
// of bits that holds n, walked along its cycle until the result is below n (Black and Rogaway, "Ciphers with arbitrary
// finite domains", CT-RSA 2002).
class Permutation {
 public:
  Permutation(std::int64_t n, std::uint64_t key, std::uint64_t stream = 0);  // n >= 1
  std::int64_t operator()(std::int64_t i) const;
  std::int64_t size() const { return n_; }

 private:
  std::int64_t n_;
  std::uint64_t key_, stream_;
  int half_bits_;
};

struct MixtureOptions {
  std::uint64_t seed = 0;
  bool shuffle = true;
  // The share of places that each source gets; empty: by their sizes. Within a source a sample of language l comes
  // language_weights[l] times as often as without weights (indices as in Language; zero: never).
  std::vector<double> source_weights = {};
  // More than 0: a source's share is its weight times its size to the power 1 / temperature. 1 draws by size, more
  // gives small sources more; 0: by the weights alone.
  double temperature = 0;
  std::array<double, 3> language_weights = {1, 1, 1};
};

struct Draw {
  int source = 0;
  std::int64_t index = 0;
  std::int64_t epoch = 0;  // how often this sample has come before
};

// Without weights each pass over all samples draws every one once. With weights each stream (a source's samples of one
// language) is passed over at its own rate; every block of 4096 places, or as many more as the least share needs for
// several, holds each stream as often as its share asks, to one.
class Mixture {
 public:
  // Throws Error where nothing can be drawn, and where a source's share is too small to be dealt: below one in a
  // million.
  Mixture(std::vector<std::shared_ptr<const SampleSource>> sources, const MixtureOptions& options);

  Draw at(std::int64_t place) const;
  // Of each source, the draws in front of a place. Exact at whole passes and between several streams; within the pass
  // of a mixture without weights, by the sources' sizes.
  std::vector<double> drawn(std::int64_t place) const;
  std::int64_t size() const { return size_; }  // samples that can be drawn
  const SampleSource& source(int i) const { return *sources_[static_cast<std::size_t>(i)]; }

 private:
  struct Stream {
    int source = -1;                        // -1: all sources, one after the other
    std::optional<Language> language = {};  // of which its samples are; none: of all
    std::int64_t size = 0;
    double share = 0;
    std::int64_t slots = 0;  // of a block of places
  };

  struct Slot {
    std::uint32_t stream = 0, rank = 0;  // which stream, and how many of its slots come before in the block
  };

  void add_streams(const MixtureOptions& options);
  void drop_least_streams(double total);
  void deal_slots();
  Draw draw(std::size_t stream, std::int64_t position) const;

  std::vector<std::shared_ptr<const SampleSource>> sources_;
  std::vector<std::int64_t> begins_;  // of each source in all samples, and the end
  std::vector<Stream> streams_;
  std::vector<Slot> pattern_;  // of a block, where there are several streams
  std::int64_t size_ = 0, block_ = 1;
  std::uint64_t seed_;
  bool shuffle_;
};

// Leaves out turns about what is not in the picture, so that `share` of them stay, chosen by
// (seed, source, index, part) alone. Pictures of a turn that goes move to the next one. Returns how many turns went.
int drop_negative_turns(Sample& sample, double share, std::uint64_t seed, const Draw& draw);

}  // namespace skymm
