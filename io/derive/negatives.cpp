#include "io/derive/negatives.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <span>
#include <utility>

#include "core/error.hpp"
#include "io/byte_stream.hpp"
#include "io/dataset.hpp"
#include "io/derive/phrases.hpp"
#include "io/derive/scene_facts.hpp"

namespace skymm {
namespace {

using nlohmann::json;

constexpr const char* strategies[] = {"random", "popular", "adversarial"};

struct ClaimPair {
  Claim positive, negative;
};

template <class T>
const T& pick(const std::vector<T>& values, RandomStream& random) {
  return values[random.below(static_cast<std::uint32_t>(values.size()))];
}

// The pairs that a picture's facts allow.
class ClaimMaker {
 public:
  ClaimMaker(const SceneFacts& facts, const Occurrence& occurrence, RandomStream& random)
      : facts_(facts), occurrence_(occurrence), random_(random) {
    for (const KnownObject& object : facts.objects) {
      if (facts.count(object.thing) == 1) single_.push_back(&object);
    }
  }

  std::optional<ClaimPair> make(QuestionKind kind, int strategy) {
    switch (kind) {
      case QuestionKind::existence:
        return existence(strategy);
      case QuestionKind::attribute:
        return attribute();
      case QuestionKind::count:
        return count();
      case QuestionKind::relation:
        return relation();
    }
    return std::nullopt;
  }

 private:
  std::optional<ClaimPair> existence(int strategy) {
    const std::optional<int> absent = occurrence_.absent(facts_, strategy, random_);
    if (!absent) return std::nullopt;
    ClaimPair pair;
    pair.positive.thing = pick(facts_.objects, random_).thing;
    pair.negative = {.yes = false, .thing = *absent, .strategy = strategies[strategy]};
    return pair;
  }

  std::optional<ClaimPair> attribute() {
    std::vector<const KnownObject*> coloured;
    for (const KnownObject* object : single_) {
      if (!object->colour.empty()) coloured.push_back(object);
    }
    if (coloured.empty()) return std::nullopt;
    const KnownObject& object = *pick(coloured, random_);
    std::vector<std::string> others;
    for (const auto& [english, chinese] : colour_words) {
      if (english != object.colour && !facts_.colours.contains(english)) others.emplace_back(english);
    }
    if (others.empty()) return std::nullopt;
    const Claim claim{
        .kind = QuestionKind::attribute, .thing = object.thing, .colour = object.colour, .true_colour = object.colour};
    return opposed(claim, [&](Claim& no) { no.colour = pick(others, random_); });
  }

  std::optional<ClaimPair> count() {
    std::vector<std::pair<int, int>> numbers;  // of things
    for (const KnownObject& object : facts_.objects) {
      const int number = facts_.complete ? facts_.count(object.thing) : object.number;
      if (number > 0) numbers.emplace_back(object.thing, number);
    }
    if (numbers.empty()) return std::nullopt;
    const auto [thing, number] = pick(numbers, random_);
    const Claim claim{.kind = QuestionKind::count, .thing = thing, .number = number, .true_number = number};
    return opposed(claim, [&](Claim& no) { no.number += number > 1 && random_.below(2) ? -1 : 1; });
  }

  // Between things that are there once, along the axis on which they lie further apart.
  std::optional<ClaimPair> relation() {
    std::vector<Claim> claims;
    for (const KnownObject* a : single_) {
      for (const KnownObject* b : single_) {
        if (a == b || !a->box || !b->box) continue;
        const auto [ax, ay, aw, ah] = *a->box;
        const auto [bx, by, bw, bh] = *b->box;
        const double dx = ax + aw / 2 - bx - bw / 2, dy = ay + ah / 2 - by - bh / 2;
        const bool across = std::abs(dx) > std::abs(dy);
        // Clear of each other, or the answer is a matter of taste.
        if (across ? std::abs(dx) < (aw + bw) / 2 : std::abs(dy) < (ah + bh) / 2) continue;
        claims.push_back({.kind = QuestionKind::relation,
                          .thing = a->thing,
                          .other = b->thing,
                          .side = across ? (dx < 0 ? 0 : 1) : (dy < 0 ? 2 : 3)});
      }
    }
    if (!facts_.complete || claims.empty()) return std::nullopt;
    return opposed(pick(claims, random_), [](Claim& no) { no.side ^= 1; });
  }

  template <class Change>
  static ClaimPair opposed(const Claim& claim, const Change& change) {
    ClaimPair pair{claim, claim};
    pair.negative.yes = false;
    change(pair.negative);
    return pair;
  }

  const SceneFacts& facts_;
  const Occurrence& occurrence_;
  RandomStream& random_;
  std::vector<const KnownObject*> single_;
};

// The samples of each picture of a set, in their order.
class SamplesOfPictures {
 public:
  explicit SamplesOfPictures(const Dataset& set) : begins_(static_cast<std::size_t>(set.image_count()) + 1) {
    std::int64_t uses = 0;
    each_use(set, [&](std::size_t picture, std::int64_t) { ++begins_[picture + 1], ++uses; });
    check(std::max(uses, set.size()) <= std::numeric_limits<std::uint32_t>::max(),
          "{}: {} samples with {} pictures are more than negatives can be made of at once; split the set", set.path(),
          set.size(), uses);
    std::partial_sum(begins_.begin(), begins_.end(), begins_.begin());
    samples_.resize(begins_.back());
    std::vector<std::uint32_t> next(begins_.begin(), begins_.end() - 1);
    each_use(set, [&](std::size_t picture, std::int64_t sample) {
      samples_[next[picture]++] = static_cast<std::uint32_t>(sample);
    });
  }

  std::span<const std::uint32_t> of(std::int64_t picture) const {
    const auto p = static_cast<std::size_t>(picture);
    return std::span(samples_).subspan(begins_[p], begins_[p + 1] - begins_[p]);
  }

 private:
  template <class Visit>
  static void each_use(const Dataset& set, const Visit& visit) {
    for (std::int64_t i = 0; i < set.size(); ++i) {
      for (const std::int64_t picture : set.image_numbers(i)) visit(static_cast<std::size_t>(picture), i);
    }
  }

  std::vector<std::uint32_t> begins_, samples_;
};

class Builder {
 public:
  explicit Builder(const NegativesOptions& options)
      : options_(options), input_(options.input), samples_(input_), vocabulary_(options.vocabulary) {}

  NegativesResult build() {
    visit([&](std::int64_t, const Sample&, const SceneFacts& facts) { occurrence_.add(facts); });
    const json provenance = {{"made_by", "skymm data build negatives"},
                             {"input", options_.input},
                             {"input_provenance", json::parse(input_.provenance())},
                             {"seed", options_.seed},
                             {"pairs", options_.pairs}};
    DatasetWriter writer(options_.output, provenance.dump());
    visit([&](std::int64_t index, const Sample& sample, const SceneFacts& facts) {
      ++result_.pictures;
      if (facts.objects.empty()) {
        ++result_.without_objects;
        return;
      }
      ask(index, sample, facts, writer);
    });
    writer.close();
    return result_;
  }

 private:
  // Each picture once, with the first sample that is about it alone, and what all of its samples tell.
  template <class Visit>
  void visit(const Visit& each) {
    std::vector<bool> seen(static_cast<std::size_t>(input_.image_count()));
    for (std::int64_t i = 0; i < input_.size(); ++i) {
      const std::vector<std::int64_t> numbers = input_.image_numbers(i);
      if (numbers.size() != 1 || seen[static_cast<std::size_t>(numbers[0])]) continue;
      seen[static_cast<std::size_t>(numbers[0])] = true;
      SceneReader scene(vocabulary_);
      for (const std::uint32_t sample : samples_.of(numbers[0])) scene.add(input_.read(sample, false));
      each(i, input_.read(i, false), scene.facts());
    }
  }

  std::vector<Claim> claims_of(std::int64_t index, const SceneFacts& facts, RandomStream& random) const {
    ClaimMaker maker(facts, occurrence_, random);
    std::vector<Claim> claims;
    for (int p = 0; p < options_.pairs; ++p) {
      // Every other pair asks for existence, which the rest falls back to.
      const auto kind = static_cast<QuestionKind>(p % 2 == 0 ? 0 : 1 + random.below(3));
      const int strategy = static_cast<int>((index + p / 2) % 3);
      std::optional<ClaimPair> pair = maker.make(kind, strategy);
      if (!pair) pair = maker.make(QuestionKind::existence, strategy);
      if (!pair) continue;
      for (Claim* claim : {&pair->positive, &pair->negative}) {
        claim->pair = p;
        claims.push_back(*claim);
      }
    }
    for (std::size_t i = claims.size(); i > 1; --i) {
      std::swap(claims[i - 1], claims[random.below(static_cast<std::uint32_t>(i))]);
    }
    return claims;
  }

  void ask(std::int64_t index, const Sample& from, const SceneFacts& facts, DatasetWriter& writer) {
    RandomStream random(options_.seed, static_cast<std::uint64_t>(index));
    const std::vector<Claim> claims = claims_of(index, facts, random);
    for (const Language language : {Language::english, Language::chinese}) {
      if (!(language == Language::english ? options_.english : options_.chinese)) continue;
      Sample sample{.id = fmt::format("{}-negatives-{}", from.id, language == Language::english ? "en" : "zh"),
                    .language = language,
                    .source = "negatives",
                    .annotations = from.annotations};
      sample.parts.push_back(image_part(0));
      for (const Claim& claim : claims) {
        if (!lacks_name(claims, claim.pair, language)) add_turn(claim, language, random, sample);
      }
      if (sample.parts.size() == 1) continue;
      sample.images.push_back(input_.read_image(input_.image_numbers(index).front()));
      writer.add(sample);
      ++result_.samples;
    }
  }

  // Of either claim of a pair: both are left out, or answers would lean to one side.
  bool lacks_name(const std::vector<Claim>& claims, int pair, Language language) const {
    const auto nameless = [&](int thing) {
      const ObjectName& name = vocabulary_.name(thing);
      return (language == Language::chinese ? name.chinese : name.english).empty();
    };
    return std::ranges::any_of(claims, [&](const Claim& claim) {
      return claim.pair == pair &&
             (nameless(claim.thing) || (claim.kind == QuestionKind::relation && nameless(claim.other)));
    });
  }

  void add_turn(const Claim& claim, Language language, RandomStream& random, Sample& sample) {
    const ObjectName &thing = vocabulary_.name(claim.thing), &other = vocabulary_.name(claim.other);
    Phrase words = phrase(claim, thing, other, language, random);
    const std::string kind = kind_names[static_cast<int>(claim.kind)];
    sample.parts.push_back(text_part(std::move(words.question)));
    sample.parts.push_back(
        answer_part(std::move(words.answer), kind, claim.yes ? Polarity::positive : Polarity::negative));
    ++result_.turns[kind + " " + (claim.yes ? "positive" : claim.strategy.empty() ? "negative" : claim.strategy)];
  }

  const NegativesOptions& options_;
  const Dataset input_;
  const SamplesOfPictures samples_;
  Vocabulary vocabulary_;
  Occurrence occurrence_;
  NegativesResult result_;
};

}  // namespace

std::vector<ObjectName> read_vocabulary(const std::string& path) {
  std::vector<ObjectName> names;
  ByteStream file(path);
  for (std::string line; file.line(line, 1 << 16);) {
    const std::size_t tab = line.find('\t');
    ObjectName name{line.substr(0, tab), tab == std::string::npos ? "" : line.substr(tab + 1)};
    if (!name.english.empty() || !name.chinese.empty()) names.push_back(std::move(name));
  }
  check(!names.empty(), "{} holds no names; a line is an English name, a tab and a Chinese name", path);
  return names;
}

NegativesResult build_negatives(const NegativesOptions& options) {
  check(options.pairs > 0, "{} pairs of questions a picture: at least one is needed", options.pairs);
  NegativesResult result = Builder(options).build();
  check(result.samples > 0,
        "{}: no question can be asked of its {} pictures; give a vocabulary of things that its texts name",
        options.input, result.pictures);
  return result;
}

}  // namespace skymm
