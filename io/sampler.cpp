#include "io/sampler.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <numeric>
#include <queue>
#include <utility>

#include "core/error.hpp"
#include "core/log.hpp"
#include "core/random.hpp"

namespace skymm {
namespace {

// What a Philox counter is for is its last word, so that no two uses share numbers.
constexpr std::uint32_t rounds = 6;
constexpr std::uint32_t for_permutation = 0x5045524D, for_negatives = 0x4E454741;

// Slots of a block of a mixture: this many, doubled until each stream has some of them by its share alone, for one slot
// of a stream that asks for a hundredth of it would be a hundred times too much. A slot takes 8 bytes.
constexpr std::int64_t least_block = 4096, largest_block = std::int64_t{1} << 22;
constexpr double least_slots = 4;   // where a stream would get fewer of a block, the block is enlarged,
constexpr double exact_slots = 64;  // until the stream gets as many: then it is drawn as often as asked to a percent

std::uint64_t low_bits(int n) { return (std::uint64_t{1} << n) - 1; }

}  // namespace

std::int64_t SampleSource::count(Language of) const {
  std::int64_t found = 0;
  for (std::int64_t i = 0; i < size(); ++i) found += language(i) == of;
  return found;
}

std::int64_t SampleSource::find(Language of, std::int64_t k) const {
  for (std::int64_t i = 0; i < size(); ++i) {
    if (language(i) == of && k-- == 0) return i;
  }
  fail("there is no such sample of that language");
}

Permutation::Permutation(std::int64_t n, std::uint64_t key, std::uint64_t stream)
    : n_(n), key_(key), stream_(stream), half_bits_((std::bit_width(static_cast<std::uint64_t>(n - 1)) + 1) / 2) {
  check(n >= 1, "a permutation of {} elements does not exist", n);
}

std::int64_t Permutation::operator()(std::int64_t i) const {
  if (half_bits_ == 0) return 0;
  const std::uint64_t mask = low_bits(half_bits_);
  // The stream goes into the key: the counter is full.
  const std::uint64_t key = key_ ^ std::rotl(stream_ * 0x9E3779B97F4A7C15ULL, 29);
  auto x = static_cast<std::uint64_t>(i);
  do {
    std::uint64_t left = x >> half_bits_, right = x & mask;
    for (std::uint32_t round = 0; round < rounds; ++round) {
      const PhiloxBlock word =
          philox(key, {static_cast<std::uint32_t>(right), round, static_cast<std::uint32_t>(stream_), for_permutation});
      left ^= word[0] & mask;
      std::swap(left, right);
    }
    x = left << half_bits_ | right;
  } while (x >= static_cast<std::uint64_t>(n_));
  return static_cast<std::int64_t>(x);
}

Mixture::Mixture(std::vector<std::shared_ptr<const SampleSource>> sources, const MixtureOptions& options)
    : sources_(std::move(sources)), seed_(options.seed), shuffle_(options.shuffle) {
  begins_.push_back(0);
  for (const auto& source : sources_) begins_.push_back(begins_.back() + source->size());
  check(begins_.back() > 0, "there are no samples: {} data sets, all empty", sources_.size());
  check(options.source_weights.empty() || options.source_weights.size() == sources_.size(),
        "{} source weights were given for {} data sets", options.source_weights.size(), sources_.size());
  add_streams(options);
  check(!streams_.empty(), "no sample can be drawn: every weight is zero, or belongs to an empty data set or language");
  deal_slots();
  for (const Stream& stream : streams_) size_ += stream.size;
}

void Mixture::add_streams(const MixtureOptions& options) {
  const auto& languages = options.language_weights;
  const auto valid = [](double weight) { return std::isfinite(weight) && weight >= 0; };
  check(std::all_of(options.source_weights.begin(), options.source_weights.end(), valid) &&
            std::all_of(languages.begin(), languages.end(), valid),
        "the weights of data sets and languages must be zero or more");
  check(options.temperature >= 0, "the temperature {} of a mixture must be zero or more", options.temperature);
  const bool by_language =
      std::any_of(languages.begin(), languages.end(), [&](double weight) { return weight != languages[0]; });
  if (!by_language && options.source_weights.empty()) {
    check(languages[0] > 0, "no sample can be drawn: the weight of every language is zero");
    streams_.push_back({.size = begins_.back(), .share = 1.0});
    return;
  }
  for (std::size_t s = 0; s < sources_.size(); ++s) {
    const std::int64_t size = begins_[s + 1] - begins_[s];
    if (size == 0) continue;
    const double natural = static_cast<double>(size) / static_cast<double>(begins_.back());
    double share = options.source_weights.empty() ? natural : options.source_weights[s];
    if (options.temperature > 0 && !options.source_weights.empty()) {
      share *= std::pow(static_cast<double>(size), 1 / options.temperature);
    }
    const auto add = [&](std::optional<Language> language, std::int64_t count, double weight) {
      const double part = share * weight * static_cast<double>(count) / static_cast<double>(size);
      if (part > 0) streams_.push_back({static_cast<int>(s), language, count, part});
    };
    if (!by_language) {
      add(std::nullopt, size, languages[0]);
      continue;
    }
    for (const Language language : {Language::none, Language::english, Language::chinese}) {
      add(language, sources_[s]->count(language), languages[static_cast<std::size_t>(language)]);
    }
  }
}

// What is too small a part for the largest block: a language that a source has hardly a sample of is left out; a source
// is an error.
void Mixture::drop_least_streams(double total) {
  const auto fits = [&](double share) { return share / total * static_cast<double>(largest_block) >= least_slots; };
  for (std::size_t s = 0; s < sources_.size(); ++s) {
    double share = 0;
    for (const Stream& stream : streams_) share += stream.source == static_cast<int>(s) ? stream.share : 0;
    check(share == 0 || fits(share),
          "data set {} of {}, of {} samples, would get {:.2g} of the places of training, less than the {:.2g} that "
          "can be dealt; give it more weight, or leave it out",
          s + 1, sources_.size(), sources_[s]->size(), share / total, least_slots / static_cast<double>(largest_block));
  }
  std::erase_if(streams_, [&](const Stream& stream) {
    if (fits(stream.share)) return false;
    constexpr const char* names[] = {"no language", "English", "Chinese"};
    log::warn("data set {} of {}: its {} samples of {} are left out: their share of training, {:.2g}, is too small",
              stream.source + 1, sources_.size(), stream.size, names[static_cast<std::size_t>(*stream.language)],
              stream.share / total);
    return true;
  });
}

// Largest remainders: the slots of a block add up exactly, and each stream has at least one.
void Mixture::deal_slots() {
  const auto sum_shares = [&] {
    return std::accumulate(streams_.begin(), streams_.end(), 0.0,
                           [](double sum, const Stream& stream) { return sum + stream.share; });
  };
  if (streams_.size() > 1) drop_least_streams(sum_shares());
  if (streams_.size() == 1) {
    streams_[0].slots = block_ = 1;
    return;
  }
  const double total = sum_shares(), least = std::ranges::min_element(streams_, {}, &Stream::share)->share / total;
  block_ = std::max(least_block, static_cast<std::int64_t>(streams_.size()) * 4);
  if (least * static_cast<double>(block_) < least_slots) {
    while (block_ < largest_block && least * static_cast<double>(block_) < exact_slots) block_ *= 2;
  }
  std::vector<std::pair<double, std::size_t>> remainders;
  std::int64_t dealt = 0;
  for (std::size_t s = 0; s < streams_.size(); ++s) {
    const double exact = streams_[s].share / total * static_cast<double>(block_);
    streams_[s].slots = std::max<std::int64_t>(1, static_cast<std::int64_t>(exact));
    dealt += streams_[s].slots;
    remainders.emplace_back(static_cast<double>(streams_[s].slots) - exact, s);
  }
  std::sort(remainders.begin(), remainders.end());
  for (std::size_t i = 0; dealt < block_; ++i, ++dealt) ++streams_[remainders[i % remainders.size()].second].slots;
  for (; dealt > block_; --dealt) {  // the least shares were rounded up to one slot
    --std::max_element(streams_.begin(), streams_.end(), [](const Stream& a, const Stream& b) {
        return a.slots < b.slots;
      })->slots;
  }
  // The same pattern in every block, each stream spread evenly over it: its k-th slot of n at (k + 0.5) / n.
  using Next = std::pair<double, std::uint32_t>;  // where a stream's next slot is, and the stream
  std::priority_queue<Next, std::vector<Next>, std::greater<>> nexts;
  std::vector<std::uint32_t> ranks(streams_.size());
  const auto wait = [&](std::uint32_t s) {
    const auto slots = static_cast<double>(streams_[s].slots);
    if (ranks[s] < streams_[s].slots) nexts.emplace((static_cast<double>(ranks[s]) + 0.5) / slots, s);
  };
  for (std::uint32_t s = 0; s < streams_.size(); ++s) wait(s);
  pattern_.reserve(static_cast<std::size_t>(block_));
  while (!nexts.empty()) {
    const std::uint32_t s = nexts.top().second;
    nexts.pop();
    pattern_.push_back({s, ranks[s]++});
    wait(s);
  }
}

Draw Mixture::at(std::int64_t place) const {
  check(place >= 0, "place {} of the training order does not exist", place);
  if (streams_.size() == 1) return draw(0, place);
  const Slot slot = pattern_[static_cast<std::size_t>(place % block_)];
  return draw(slot.stream, place / block_ * streams_[slot.stream].slots + slot.rank);
}

std::vector<double> Mixture::drawn(std::int64_t place) const {
  std::vector<double> counts(sources_.size());
  const auto add = [&](const Stream& stream, double draws) {
    if (stream.source >= 0) {
      counts[static_cast<std::size_t>(stream.source)] += draws;
      return;
    }
    for (std::size_t s = 0; s < counts.size(); ++s) {
      counts[s] += draws * static_cast<double>(begins_[s + 1] - begins_[s]) / static_cast<double>(stream.size);
    }
  };
  if (streams_.size() == 1) {
    add(streams_[0], static_cast<double>(place));
    return counts;
  }
  for (const Stream& stream : streams_) add(stream, static_cast<double>(place / block_ * stream.slots));
  for (std::int64_t i = 0; i < place % block_; ++i) add(streams_[pattern_[static_cast<std::size_t>(i)].stream], 1);
  return counts;
}

Draw Mixture::draw(std::size_t number, std::int64_t position) const {
  const Stream& stream = streams_[number];
  const std::int64_t epoch = position / stream.size;
  std::int64_t i = position % stream.size;
  if (shuffle_)
    i = Permutation(stream.size, seed_,
                    static_cast<std::uint64_t>(number) << 40 | static_cast<std::uint64_t>(epoch))(i);
  if (stream.source >= 0) {
    const SampleSource& source = *sources_[static_cast<std::size_t>(stream.source)];
    return {stream.source, stream.language ? source.find(*stream.language, i) : i, epoch};
  }
  const auto source = std::upper_bound(begins_.begin(), begins_.end(), i) - begins_.begin() - 1;
  return {static_cast<int>(source), i - begins_[static_cast<std::size_t>(source)], epoch};
}

int drop_negative_turns(Sample& sample, double share, std::uint64_t seed, const Draw& draw) {
  if (share >= 1) return 0;
  std::vector<Part> kept, turn;
  int dropped = 0;
  for (std::size_t i = 0; i < sample.parts.size(); ++i) {
    Part& part = sample.parts[i];
    const bool answer = part.kind == Part::Kind::answer;
    const bool negative = part.polarity == Polarity::negative;
    turn.push_back(std::move(part));
    if (!answer) continue;
    const PhiloxBlock word =
        philox(seed, {static_cast<std::uint32_t>(draw.index), static_cast<std::uint32_t>(draw.index >> 32),
                      static_cast<std::uint32_t>(draw.source) << 16 | static_cast<std::uint32_t>(i), for_negatives});
    if (negative && uniform(word[0]) >= share) {
      std::erase_if(turn, [](const Part& candidate) { return candidate.kind != Part::Kind::image; });
      ++dropped;
    } else {
      std::move(turn.begin(), turn.end(), std::back_inserter(kept));
      turn.clear();
    }
  }
  std::move(turn.begin(), turn.end(), std::back_inserter(kept));
  sample.parts = std::move(kept);
  return dropped;
}

}  // namespace skymm
