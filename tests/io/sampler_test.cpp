#include "io/sampler.hpp"

#include <fmt/format.h>

#include <map>
#include <numeric>
#include <set>

#include "support/text.hpp"

namespace skymm {
namespace {

using ::testing::AllOf;
using testing::error_of;
using ::testing::HasSubstr;

class Numbered final : public SampleSource {
 public:
  explicit Numbered(std::int64_t size, int chinese_every = 0) : size_(size), chinese_every_(chinese_every) {}
  std::int64_t size() const override { return size_; }
  Sample read(std::int64_t index) const override { return {.id = std::to_string(index)}; }
  Language language(std::int64_t index) const override {
    return chinese_every_ > 0 && index % chinese_every_ == 0 ? Language::chinese : Language::english;
  }

 private:
  std::int64_t size_;
  int chinese_every_;
};

Mixture mixture(std::vector<std::shared_ptr<const SampleSource>> sources, const MixtureOptions& options) {
  return Mixture(std::move(sources), options);
}

TEST(Permutation, IsABijectionOfAnySize) {
  for (const std::int64_t n : {1, 2, 3, 4, 5, 7, 16, 17, 63, 64, 65, 1000, 4096, 10007}) {
    std::vector<int> seen(static_cast<std::size_t>(n));
    const Permutation permute(n, 42, 7);
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t to = permute(i);
      ASSERT_TRUE(0 <= to && to < n) << n;
      ++seen[static_cast<std::size_t>(to)];
    }
    EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), n) << n;
  }
}

TEST(Permutation, ReachesFarIntoLargeRanges) {
  const std::int64_t n = (std::int64_t{1} << 40) + 12345;
  const Permutation permute(n, 1);
  std::set<std::int64_t> seen;
  std::int64_t upper = 0;
  for (std::int64_t i = 0; i < 1000; ++i) {
    const std::int64_t to = permute(i);
    ASSERT_TRUE(0 <= to && to < n);
    seen.insert(to);
    upper += to > n / 2;
  }
  EXPECT_EQ(seen.size(), 1000u);
  EXPECT_NEAR(static_cast<double>(upper), 500, 80);
}

TEST(Permutation, KeysAndStreamsGiveOtherOrders) {
  const std::int64_t n = 1000;
  const Permutation a(n, 1, 0), b(n, 2, 0), c(n, 1, 1);
  int same_key = 0, same_stream = 0, fixed = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    same_key += a(i) == b(i);
    same_stream += a(i) == c(i);
    fixed += a(i) == i;
  }
  EXPECT_LT(same_key, 10);
  EXPECT_LT(same_stream, 10);
  EXPECT_LT(fixed, 10);
}

TEST(Mixture, EachEpochHoldsEverySampleOnceInAnotherOrder) {
  const Mixture all = mixture(
      {std::make_shared<Numbered>(30), std::make_shared<Numbered>(0), std::make_shared<Numbered>(70)}, {.seed = 3});
  EXPECT_EQ(all.size(), 100);
  std::vector<std::vector<std::pair<int, std::int64_t>>> epochs(3);
  for (std::int64_t place = 0; place < 300; ++place) {
    const Draw draw = all.at(place);
    EXPECT_EQ(draw.epoch, place / 100);
    epochs[static_cast<std::size_t>(draw.epoch)].emplace_back(draw.source, draw.index);
  }
  EXPECT_NE(epochs[0], epochs[1]);
  for (auto& epoch : epochs) {
    EXPECT_FALSE(std::is_sorted(epoch.begin(), epoch.end()));
    EXPECT_EQ(std::set(epoch.begin(), epoch.end()).size(), 100u);
  }
}

TEST(Mixture, WithoutShuffleTheOrderIsThatOfTheData) {
  const Mixture all = mixture({std::make_shared<Numbered>(3), std::make_shared<Numbered>(2)}, {.shuffle = false});
  const std::vector<std::pair<int, std::int64_t>> expected = {{0, 0}, {0, 1}, {0, 2}, {1, 0}, {1, 1}, {0, 0}};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const Draw draw = all.at(static_cast<std::int64_t>(i));
    EXPECT_EQ(std::pair(draw.source, draw.index), expected[i]);
  }
}

TEST(Mixture, WeightsAreHonouredAndStreamsPassedOverEvenly) {
  const Mixture all = mixture({std::make_shared<Numbered>(100, 4), std::make_shared<Numbered>(50)},
                              {.seed = 5, .source_weights = {3, 1}, .language_weights = {1, 1, 3}});
  // source 0: 25 Chinese and 75 English samples, shares 3 * .25 * 3 and 3 * .75; source 1: English only, share 1
  const int places = 40960;
  std::map<std::string, int> counts;
  std::map<std::pair<int, std::int64_t>, int> each;
  for (int place = 0; place < places; ++place) {
    const Draw draw = all.at(place);
    const Language language = all.source(draw.source).language(draw.index);
    ++counts[fmt::format("{}{}", draw.source == 0 ? "a" : "b", language == Language::chinese ? "zh" : "en")];
    EXPECT_EQ((each[{draw.source, draw.index}]++), draw.epoch);
  }
  EXPECT_NEAR(counts["azh"], places * 2.25 / 5.5, 10);
  EXPECT_NEAR(counts["aen"], places * 2.25 / 5.5, 10);
  EXPECT_NEAR(counts["ben"], places * 1.0 / 5.5, 10);
  int least = places, most = 0;
  for (const auto& [draw, count] : each) {
    if (draw.first == 1) least = std::min(least, count), most = std::max(most, count);
  }
  EXPECT_LE(most - least, 1);
}

TEST(Mixture, TellsWhatItDrewOfEachSource) {
  const std::vector<std::shared_ptr<const SampleSource>> sources = {std::make_shared<Numbered>(90, 4),
                                                                    std::make_shared<Numbered>(10)};
  const Mixture weighted = mixture(sources, {.seed = 5, .source_weights = {3, 1}, .language_weights = {1, 1, 3}});
  std::vector<double> counts(2);
  for (int place = 0; place < 9000; ++place) {
    if (place % 700 == 0) {
      EXPECT_EQ(weighted.drawn(place), counts) << place;
    }
    ++counts[static_cast<std::size_t>(weighted.at(place).source)];
  }
  EXPECT_EQ(mixture(sources, {.seed = 5}).drawn(250), (std::vector<double>{225, 25}));
}

// The order that the checkpoints of such mixtures go on in.
TEST(Mixture, SharesOfSomeSlotsOf4096KeepTheirOrder) {
  const Mixture all =
      mixture({std::make_shared<Numbered>(900), std::make_shared<Numbered>(70), std::make_shared<Numbered>(5)},
              {.seed = 11, .shuffle = false, .source_weights = {900, 70, 3}});
  const std::vector<int> slots = {3789, 295, 12};
  std::vector<std::pair<double, int>> order;
  for (int s = 0; s < 3; ++s) {
    for (int k = 0; k < slots[static_cast<std::size_t>(s)]; ++k) {
      order.emplace_back((k + 0.5) / slots[static_cast<std::size_t>(s)], s);
    }
  }
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  ASSERT_EQ(order.size(), 4096u);
  std::vector<std::int64_t> next(3);
  for (std::int64_t place = 0; place < 3 * 4096; ++place) {
    const Draw draw = all.at(place);
    const int source = order[static_cast<std::size_t>(place % 4096)].second;
    const std::int64_t size = all.source(source).size(), at = next[static_cast<std::size_t>(source)]++;
    ASSERT_EQ(draw.source, source) << place;
    ASSERT_EQ(draw.index, at % size) << place;
    ASSERT_EQ(draw.epoch, at / size) << place;
  }
}

TEST(Mixture, SmallSharesAreNotDrawnMoreOftenThanAsked) {
  const std::int64_t large = 50'000'000;
  const std::vector<std::shared_ptr<const SampleSource>> sources = {std::make_shared<Numbered>(large),
                                                                    std::make_shared<Numbered>(1000)};
  const Mixture by_size = mixture(sources, {.source_weights = {1, 1}, .temperature = 1});
  EXPECT_NEAR(by_size.drawn(large + 1000)[1] / 1000, 1, 0.15);
  std::set<std::int64_t> drawn;
  for (std::int64_t place = 0; place < 5'000'000; ++place) {
    const Draw draw = by_size.at(place);
    if (draw.source == 1) drawn.insert(draw.index);
  }
  EXPECT_NEAR(static_cast<double>(drawn.size()), 100, 15);
}

TEST(Mixture, SharesThatCannotBeDealtAreRefused) {
  const auto sources = [](std::shared_ptr<const SampleSource> first) {
    return std::vector<std::shared_ptr<const SampleSource>>{std::move(first), std::make_shared<Numbered>(10)};
  };
  EXPECT_THAT(error_of([&] {
                mixture(sources(std::make_shared<Numbered>(90)), {.source_weights = {1e7, 1}});
              }),
              AllOf(HasSubstr("data set 2 of 2, of 10 samples, would get 1e-07"), HasSubstr("more weight")));
  // A language of hardly a sample is no choice of anybody's: it does not end the run.
  class OneIsChinese final : public SampleSource {
   public:
    std::int64_t size() const override { return 10'000'000; }
    Sample read(std::int64_t) const override { return {}; }
    std::int64_t count(Language of) const override {
      return of == Language::chinese ? 1 : of == Language::english ? size() - 1 : 0;
    }
    std::int64_t find(Language, std::int64_t k) const override { return k; }
  };
  const Mixture all =
      mixture(sources(std::make_shared<OneIsChinese>()), {.source_weights = {1, 1}, .language_weights = {1, 1, 0.5}});
  EXPECT_EQ(all.size(), 10'000'009);
}

TEST(Mixture, TemperatureEvensOutSizes) {
  const std::vector<std::shared_ptr<const SampleSource>> sources = {std::make_shared<Numbered>(900),
                                                                    std::make_shared<Numbered>(100)};
  const auto share = [&](double temperature) {
    const Mixture all = mixture(sources, {.source_weights = {1, 1}, .temperature = temperature});
    return all.drawn(40960)[1] / 40960;
  };
  EXPECT_NEAR(share(0), 0.5, 1e-3);
  EXPECT_NEAR(share(1), 0.1, 1e-3);
  EXPECT_NEAR(share(2), 0.25, 1e-3);  // 10 / (30 + 10)
  EXPECT_NEAR(share(100), 0.5, 0.01);
}

TEST(Mixture, WeightOfZeroLeavesALanguageOut) {
  const Mixture all = mixture({std::make_shared<Numbered>(40, 2)}, {.language_weights = {1, 0, 1}});
  EXPECT_EQ(all.size(), 20);
  for (int place = 0; place < 100; ++place) EXPECT_EQ(all.at(place).index % 2, 0);
}

TEST(Mixture, NothingToDrawIsAnError) {
  EXPECT_THAT(error_of([] { mixture({}, {}); }), HasSubstr("no samples"));
  EXPECT_THAT(error_of([] { mixture({std::make_shared<Numbered>(0)}, {}); }), HasSubstr("all empty"));
  EXPECT_THAT(error_of([] {
                mixture({std::make_shared<Numbered>(9)}, {.language_weights = {1, 0, 1}});
              }),
              HasSubstr("no sample can be drawn"));
  EXPECT_THAT(error_of([] {
                mixture({std::make_shared<Numbered>(9)}, {.source_weights = {1, 2}});
              }),
              HasSubstr("2 source weights"));
  EXPECT_THAT(error_of([] { mixture({std::make_shared<Numbered>(9)}, {.source_weights = {-1}}); }),
              HasSubstr("zero or more"));
}

Sample questions() {
  Sample sample;
  sample.images = {"a"};
  sample.parts = {image_part(0)};
  for (int i = 0; i < 6; ++i) {
    sample.parts.push_back(text_part(fmt::format("q{}", i)));
    sample.parts.push_back(
        answer_part(fmt::format("a{}", i), "existence", i % 2 ? Polarity::positive : Polarity::negative));
  }
  return sample;
}

TEST(NegativeTurns, GoWithTheirQuestionsAndLeaveThePicture) {
  Sample sample = questions();
  EXPECT_EQ(drop_negative_turns(sample, 0, 1, {}), 3);
  ASSERT_EQ(sample.parts.size(), 7u);
  EXPECT_EQ(sample.parts[0].kind, Part::Kind::image);
  EXPECT_EQ(sample.parts[1].text, "q1");
  EXPECT_EQ(sample.parts[6].text, "a5");
  Sample untouched = questions();
  EXPECT_EQ(drop_negative_turns(untouched, 1, 1, {}), 0);
  EXPECT_EQ(untouched.parts.size(), questions().parts.size());
}

TEST(NegativeTurns, ShareIsKeptAndTheChoiceDependsOnTheSampleOnly) {
  int dropped = 0;
  for (std::int64_t i = 0; i < 2000; ++i) {
    Sample once = questions(), again = questions();
    dropped += drop_negative_turns(once, 0.3, 9, {.index = i});
    drop_negative_turns(again, 0.3, 9, {.index = i, .epoch = 4});
    EXPECT_EQ(once.parts.size(), again.parts.size());
  }
  EXPECT_NEAR(dropped, 2000 * 3 * 0.7, 150);
}

}  // namespace
}  // namespace skymm
