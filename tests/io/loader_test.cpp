#include "io/loader.hpp"

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <map>
#include <numeric>
#include <set>
#include <thread>

#include "core/error.hpp"
#include "core/random.hpp"
#include "io/dataset.hpp"
#include "io/dataset_source.hpp"
#include "io/image_resize.hpp"
#include "support/text.hpp"

namespace skymm {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Eq;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int size = 8, visual = 3;

std::string picture(int i) {
  return encode_png(Image(size, size, {static_cast<std::uint8_t>(i * 20), 100, static_cast<std::uint8_t>(255 - i)}));
}

// Samples of different lengths: every third without picture, every fifth with two.
class Pictures : public SampleSource {
 public:
  explicit Pictures(std::int64_t count) : count_(count) {}
  std::int64_t size() const override { return count_; }
  Sample read(std::int64_t index) const override {
    Sample sample;
    sample.id = fmt::format("sample {}", index);
    const int i = static_cast<int>(index);
    const int pictures = i % 3 == 0 ? 0 : i % 5 == 0 ? 2 : 1;
    for (int k = 0; k < pictures; ++k) {
      sample.images.push_back(picture(i + k));
      sample.parts.push_back(image_part(k));
    }
    sample.parts.push_back(text_part("What is in the picture?"));
    std::string answer = "I see";
    for (int k = 0; k <= i % 7; ++k) answer += " a dumpling";
    sample.parts.push_back(answer_part(answer, "caption", Polarity::positive));
    return sample;
  }
  Extent extent(std::int64_t index) const override {
    const Sample sample = Pictures::read(index);
    return {static_cast<std::int64_t>(sample.parts.back().text.size()), static_cast<int>(sample.images.size())};
  }

 private:
  std::int64_t count_;
};

// Some of its samples are bad, each in its own way.
class Damaged final : public Pictures {
 public:
  using Pictures::Pictures;
  Sample read(std::int64_t index) const override {
    check(index != 1, "its bytes are damaged");
    Sample sample = Pictures::read(index);
    if (index == 2) sample.images[0].resize(30);
    if (index == 3) sample.parts.back().text = "  ";
    if (index == 4) sample.parts.insert(sample.parts.begin(), text_part(std::string(3000, 'x')));
    if (index == 5) sample.parts.back().polarity = Polarity::negative;
    return sample;
  }
};

struct Scene {
  std::shared_ptr<const SampleSource> source = std::make_shared<Pictures>(50);
  MixtureOptions mixture = {.seed = 11};
  LoaderOptions loader = {.global_batch = 12, .micro_batch = 2, .seed = 3, .threads = 2};
  int max_tokens = 200;

  std::unique_ptr<Loader> make() const {
    const std::shared_ptr<const Tokenizer> tokenizer(&testing::nano_tokenizer(), [](const Tokenizer*) {});
    return std::make_unique<Loader>(
        std::make_shared<Mixture>(std::vector<std::shared_ptr<const SampleSource>>{source}, mixture),
        PromptBuilder(tokenizer, chat_template("nano"), {.visual_tokens = visual, .max_tokens = max_tokens}),
        ImageSpec{.size = size}, loader);
  }
};

// Pictures that count how many were read.
class Counted final : public Pictures {
 public:
  using Pictures::Pictures;
  Sample read(std::int64_t index) const override {
    ++reads;
    return Pictures::read(index);
  }
  mutable std::atomic<int> reads = 0;
};

struct Row {
  std::string id;
  std::vector<std::int32_t> tokens, labels;
  std::vector<float> pixels;
  bool operator==(const Row&) const = default;
};

// What the step trains on, by position in the global batch.
using Rows = std::map<std::int32_t, Row>;

void collect(const MicroBatches& step, Rows& rows) {
  constexpr std::size_t picture_size = 3 * size * size;
  for (const MicroBatch& batch : step.micro_batches) {
    std::size_t visual_row = 0;
    for (std::size_t s = 0; s < batch.ids.size(); ++s) {
      const auto begin = batch.sequence_offsets[s], end = batch.sequence_offsets[s + 1];
      Row row{.id = batch.ids[s],
              .tokens = {batch.tokens.begin() + begin, batch.tokens.begin() + end},
              .labels = {batch.labels.begin() + begin, batch.labels.begin() + end}};
      const std::size_t first = visual_row;
      while (visual_row < batch.visual_rows.size() && batch.visual_rows[visual_row] < end) ++visual_row;
      row.pixels = {batch.pixels.begin() + static_cast<std::ptrdiff_t>(first / visual * picture_size),
                    batch.pixels.begin() + static_cast<std::ptrdiff_t>(visual_row / visual * picture_size)};
      EXPECT_TRUE(rows.emplace(batch.sample_positions[s], std::move(row)).second) << "a position came twice";
    }
  }
}

TEST(Deal, IsEvenInNumberAndCost) {
  std::vector<std::int64_t> costs(50);
  RandomStream random(1);
  for (auto& cost : costs) cost = 10 + random.below(90);
  for (const std::int64_t bins : {1, 3, 4, 7, 50, 60}) {
    const auto dealt = deal(costs, bins);
    ASSERT_EQ(dealt.size(), static_cast<std::size_t>(bins));
    std::set<std::int32_t> seen;
    std::int64_t least = 1 << 30, most = 0;
    for (const auto& bin : dealt) {
      EXPECT_TRUE(std::is_sorted(bin.begin(), bin.end()));
      const auto n = static_cast<std::int64_t>(bin.size());
      EXPECT_TRUE(n == 50 / bins || n == 50 / bins + 1);
      std::int64_t cost = 0;
      for (const auto item : bin) cost += costs[static_cast<std::size_t>(item)], seen.insert(item);
      least = std::min(least, cost), most = std::max(most, cost);
    }
    EXPECT_EQ(seen.size(), 50u);
    if (bins <= 4) {
      EXPECT_LT(most - least, 100 + least / 10);
    }
  }
  EXPECT_EQ(deal({5, 5, 5, 5}, 2), (std::vector<std::vector<std::int32_t>>{{0, 2}, {1, 3}}));
}

TEST(Deal, ByCostAloneIsEvenerAndInOrderIsInOrder) {
  std::vector<std::int64_t> costs = {0, 0};
  RandomStream random(2);
  for (int i = 0; i < 62; ++i) costs.push_back(i % 8 == 0 ? 900 : 20 + random.below(80));
  const auto excess = [&](Balance balance) {
    std::vector<std::int32_t> seen;
    std::int64_t most = 0, all = 0;
    for (const auto& bin : deal(costs, 8, balance)) {
      std::int64_t cost = 0;
      EXPECT_FALSE(bin.empty());
      for (const auto item : bin) cost += costs[static_cast<std::size_t>(item)], seen.push_back(item);
      most = std::max(most, cost), all += cost;
    }
    if (balance == Balance::none) {
      EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
    }
    EXPECT_EQ(std::set(seen.begin(), seen.end()).size(), costs.size());
    return static_cast<double>(most) * 8 / static_cast<double>(all) - 1;
  };
  EXPECT_LT(excess(Balance::cost), 0.02);
  EXPECT_LE(excess(Balance::cost), excess(Balance::samples));
  EXPECT_GT(excess(Balance::none), 0.05);
  EXPECT_EQ(deal({0, 0, 0}, 3, Balance::cost).back().size(), 1u);
}

// What was seen on one rank is never drawn again on three, and nothing is left out.
TEST(Loader, ThreeRanksGoOnWhereOneStopped) {
  Scene scene;
  scene.source = std::make_shared<Pictures>(60);  // five steps of a pass
  for (const Balance balance : {Balance::none, Balance::samples, Balance::cost}) {
    scene.loader.balance = balance;
    std::multiset<std::string> seen;
    const auto take = [&](Loader& loader, int steps) {
      for (int i = 0; i < steps; ++i) {
        const MicroBatches step = loader.next();
        for (const MicroBatch& batch : step.micro_batches) seen.insert(batch.ids.begin(), batch.ids.end());
      }
    };
    take(*scene.make(), 2);
    EXPECT_EQ(seen.size(), 24u);
    Scene resumed = scene;
    resumed.loader.ranks = 3;
    for (resumed.loader.rank = 0; resumed.loader.rank < 3; ++resumed.loader.rank) {
      const auto loader = resumed.make();
      loader->seek(2);
      take(*loader, 3);
    }
    EXPECT_EQ(seen.size(), 60u);
    EXPECT_EQ(std::set(seen.begin(), seen.end()).size(), 60u);
  }
}

TEST(Loader, MicroBatchesSayWhatTheirSamplesSay) {
  Scene scene;
  scene.loader.augment = false;
  scene.mixture.shuffle = false;
  const auto loader = scene.make();
  EXPECT_EQ(loader->micro_batches(), 6);
  const MicroBatches step = loader->next();
  ASSERT_EQ(step.micro_batches.size(), 6u);
  const Tokenizer& tokenizer = testing::nano_tokenizer();
  std::int64_t samples = 0;
  for (const MicroBatch& batch : step.micro_batches) {
    const std::size_t n = batch.tokens.size();
    ASSERT_EQ(batch.ids.size() + 1, batch.sequence_offsets.size());
    EXPECT_EQ(batch.labels.size(), n);
    EXPECT_EQ(batch.positions.size(), n);
    EXPECT_EQ(batch.row_ids.size(), 2 * n);
    EXPECT_EQ(batch.visual_rows.size(), static_cast<std::size_t>(batch.counts.images * visual));
    EXPECT_EQ(batch.pixels.size(), static_cast<std::size_t>(batch.counts.images * 3 * size * size));
    for (const std::int32_t row : batch.visual_rows) EXPECT_EQ(batch.tokens[static_cast<std::size_t>(row)], 0);
    std::size_t label = 0, picture_number = 0;
    for (std::size_t s = 0; s < batch.ids.size(); ++s, ++samples) {
      const std::int32_t position = batch.sample_positions[s];  // without shuffle: the sample's number
      const Sample sample = scene.source->read(position);
      EXPECT_EQ(batch.ids[s], sample.id);
      const auto begin = batch.sequence_offsets[s], end = batch.sequence_offsets[s + 1];
      EXPECT_LE(end - begin, batch.max_length);
      std::vector<std::int32_t> answer, asked;
      for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
        EXPECT_GE(batch.tokens[i], 0);
        EXPECT_EQ(batch.positions[i], static_cast<std::int32_t>(i) - begin);
        EXPECT_EQ(batch.row_ids[2 * i], position);
        EXPECT_EQ(batch.row_ids[2 * i + 1], batch.positions[i]);
        if (batch.labels[i] < 0) continue;
        EXPECT_EQ(batch.label_rows[label], static_cast<std::int32_t>(i));
        EXPECT_EQ(batch.label_ids[label++], batch.labels[i]);
        EXPECT_EQ(batch.labels[i], batch.tokens[i + 1]);
        answer.push_back(batch.labels[i]);
      }
      ASSERT_FALSE(answer.empty());
      EXPECT_EQ(answer.back(), tokenizer.eos());
      EXPECT_EQ(tokenizer.decode(answer), " " + sample.parts.back().text);
      for (const std::string& bytes : sample.images) {
        const std::vector<float> pixels = load_pixels(bytes, {.size = size});
        EXPECT_TRUE(std::equal(pixels.begin(), pixels.end(),
                               batch.pixels.begin() + static_cast<std::ptrdiff_t>(picture_number++ * pixels.size())));
      }
    }
    EXPECT_EQ(label, batch.label_rows.size());
  }
  EXPECT_EQ(samples, 12);
  EXPECT_EQ(step.counts.samples, 12);
  EXPECT_GE(loader->waited_seconds(), 0);
}

TEST(Loader, AnyNumberOfRanksTrainsOnTheSame) {
  constexpr int steps = 6;  // more than one pass
  std::vector<Rows> expected(steps);
  for (const int ranks : {1, 2, 3, 4, 5}) {
    SCOPED_TRACE(ranks);
    std::vector<Rows> rows(steps);
    for (int rank = 0; rank < ranks; ++rank) {
      Scene scene;
      scene.loader.rank = rank;
      scene.loader.ranks = ranks;
      scene.loader.threads = 1 + rank;
      const auto loader = scene.make();
      for (int step = 0; step < steps; ++step) {
        const MicroBatches made = loader->next();
        EXPECT_EQ(made.step, step);
        EXPECT_EQ(static_cast<std::int64_t>(made.micro_batches.size()), loader->micro_batches());
        for (const MicroBatch& batch : made.micro_batches) EXPECT_LE(batch.ids.size(), 2u);
        collect(made, rows[static_cast<std::size_t>(step)]);
      }
    }
    for (const Rows& step : rows) EXPECT_EQ(step.size(), 12u);
    if (ranks == 1) expected = rows;
    EXPECT_EQ(rows, expected);
  }
}

TEST(Loader, MicroBatchesOfAnySizeHoldTheSame) {
  std::vector<Rows> rows(3);
  for (const std::int64_t micro_batch : {1, 5, 12}) {
    Scene scene;
    scene.loader.micro_batch = micro_batch;
    collect(scene.make()->next(), rows[micro_batch == 1 ? 0 : micro_batch == 5 ? 1 : 2]);
  }
  EXPECT_EQ(rows[0], rows[1]);
  EXPECT_EQ(rows[0], rows[2]);
}

TEST(Loader, SeekResumesExactly) {
  const Scene scene;
  const auto first = scene.make();
  std::vector<Rows> rows(7);
  for (auto& row : rows) collect(first->next(), row);
  const auto second = scene.make();
  for (const std::size_t step : {5, 6, 2, 0}) {
    second->seek(static_cast<std::int64_t>(step));
    EXPECT_EQ(second->step(), static_cast<std::int64_t>(step));
    Rows again;
    const MicroBatches made = second->next();
    EXPECT_EQ(made.step, static_cast<std::int64_t>(step));
    collect(made, again);
    EXPECT_EQ(again, rows[step]);
  }
  Rows after;
  collect(second->next(), after);
  EXPECT_EQ(after, rows[1]);
}

TEST(Loader, AugmentationChangesFromStepToStepAndKeepsTheTokens) {
  Scene scene;
  scene.source = std::make_shared<Pictures>(12);  // each step is a pass
  scene.mixture.shuffle = false;
  const auto loader = scene.make();
  Rows first, second;
  collect(loader->next(), first);
  collect(loader->next(), second);
  EXPECT_EQ(first[1].tokens, second[1].tokens);
  EXPECT_NE(first[1].pixels, second[1].pixels);
}

TEST(Augment, IsMildAndShiftsByWholePixels) {
  const ImageSpec spec{.size = 16};
  Image image(16, 16, {100, 100, 100});
  for (int c = 0; c < 3; ++c) image.at(8, 8)[c] = 200;
  const std::vector<float> before = normalise_chw(image);
  std::set<std::ptrdiff_t> places;
  for (std::uint32_t step = 0; step < 50; ++step) {
    std::vector<float> pixels = before;
    augment(pixels, spec, {.seed = 1, .step = step});
    ASSERT_EQ(pixels.size(), before.size());
    const auto brightest = std::max_element(pixels.begin(), pixels.begin() + 256) - pixels.begin();
    EXPECT_LE(std::abs(brightest / 16 - 8), 4);
    EXPECT_LE(std::abs(brightest % 16 - 8), 4);
    places.insert(brightest);
    const float raw = pixels[0] * spec.std[0] + spec.mean[0];
    EXPECT_NEAR(raw, 100 / 255.0, 0.065);
  }
  EXPECT_GT(places.size(), 20u);
}

TEST(Loader, BadSamplesLeaveHolesAndAreReportedOnce) {
  Scene scene;
  scene.source = std::make_shared<Damaged>(12);
  scene.loader.max_bad_share = 0.5;
  scene.loader.negative_share = 0;
  ::testing::internal::CaptureStderr();
  const auto loader = scene.make();
  for (int pass = 0; pass < 3; ++pass) {
    const MicroBatches step = loader->next();
    Rows rows;
    collect(step, rows);
    EXPECT_EQ(rows.size(), 7u);
    EXPECT_EQ(step.counts.samples, 7);
    const auto skipped = [&](Skip reason) { return step.counts.skipped[static_cast<std::size_t>(reason)]; };
    EXPECT_EQ(skipped(Skip::unreadable), 1);
    EXPECT_EQ(skipped(Skip::bad_image), 1);
    EXPECT_EQ(skipped(Skip::empty_answer), 1);
    EXPECT_EQ(skipped(Skip::too_long), 1);
    EXPECT_EQ(skipped(Skip::filtered), 1);
    EXPECT_EQ(step.counts.bad(), 4);
    EXPECT_EQ(step.counts.turns_dropped, 1);
  }
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 4) << log;
  EXPECT_THAT(log, HasSubstr("1 of data set 0 is left out (unreadable): its bytes are damaged"));
  EXPECT_THAT(log, HasSubstr("sample 2 is left out (bad image)"));
  EXPECT_EQ(loader->totals().samples, 21);
}

TEST(Loader, TooManyBadSamplesAreAnError) {
  Scene scene;
  scene.source = std::make_shared<Damaged>(12);
  scene.loader.max_bad_share = 0.1;
  scene.loader.bad_share_after = 20;
  ::testing::internal::CaptureStderr();
  const auto loader = scene.make();
  loader->next();
  const std::string message = error_of([&] { loader->next(); });
  ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(message, HasSubstr("8 of 24 samples are bad"));
  EXPECT_THAT(message, HasSubstr("2 unreadable, 2 bad image, 2 empty answer, 2 too long"));
  EXPECT_THAT(message, HasSubstr("data.max_length"));
}

TEST(Loader, ValidationPassesOnceOverTheData) {
  Scene scene;
  scene.source = std::make_shared<Pictures>(17);
  scene.mixture.shuffle = false;
  scene.loader.wrap = false;
  const auto loader = scene.make();
  EXPECT_EQ(loader->steps_per_pass(), 2);
  EXPECT_EQ(loader->next().counts.samples, 12);
  EXPECT_EQ(loader->next().counts.samples, 5);
  const MicroBatches beyond = loader->next();
  EXPECT_EQ(beyond.counts.samples, 0);
  EXPECT_EQ(beyond.counts.bad(), 0);
  ASSERT_EQ(beyond.micro_batches.size(), 6u);
  for (const MicroBatch& batch : beyond.micro_batches) EXPECT_THAT(batch.sequence_offsets, ElementsAre(0));
}

TEST(Loader, ReadsDataSets) {
  const testing::TemporaryFolder folder;
  const Pictures pictures(20);
  DatasetWriter writer(folder.file("pictures.h5"));
  for (std::int64_t i = 0; i < pictures.size(); ++i) writer.add(pictures.read(i));
  writer.close();
  Scene scene;
  scene.source = std::make_shared<Pictures>(20);
  Rows expected, rows;
  collect(scene.make()->next(), expected);
  scene.source = std::make_shared<DatasetSource>(std::make_shared<Dataset>(folder.file("pictures.h5")));
  collect(scene.make()->next(), rows);
  EXPECT_EQ(rows, expected);
  EXPECT_EQ(DatasetSource(std::make_shared<Dataset>(folder.file("pictures.h5")), 7).size(), 7);
}

// Three steps, or as many as there is memory for, at least one.
TEST(Loader, LargePicturesAreMadeFewerStepsAhead) {
  for (const std::int64_t steps : {0, 2, 9}) {
    Scene scene;
    const auto source = std::make_shared<Counted>(50);
    scene.source = source;
    scene.loader.prefetch_bytes = steps * 12 * 3 * size * size * 4;
    const auto loader = scene.make();
    loader->next();
    const int most = 12 * (1 + static_cast<int>(std::clamp<std::int64_t>(steps, 1, 3)));
    // The threads stop once all is made that may be.
    for (int i = 0; i < 2000 && source->reads < most; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    EXPECT_EQ(source->reads, most) << steps;
  }
}

TEST(Loader, UnexpectedErrorsReachTheTrainer) {
  class Broken final : public SampleSource {
   public:
    std::int64_t size() const override { return 5; }
    Sample read(std::int64_t) const override { throw std::bad_alloc(); }
  };
  Scene scene;
  scene.source = std::make_shared<Broken>();
  EXPECT_THROW(scene.make()->next(), std::bad_alloc);
}

TEST(Loader, OptionsAreChecked) {
  Scene scene;
  scene.loader.rank = 2;
  scene.loader.ranks = 2;
  EXPECT_THAT(error_of([&] { scene.make(); }), HasSubstr("rank 2 of 2"));
  scene.loader = {.global_batch = 0};
  EXPECT_THAT(error_of([&] { scene.make(); }), HasSubstr("must be positive"));
}

TEST(Pixels, FitsPicturesOfAnyShape) {
  Image wide(40, 20, {0, 0, 255});
  for (int y = 0; y < 20; ++y) {
    for (int x = 0; x < 10; ++x) wide.at(x, y)[0] = 255;
  }
  const std::string bytes = encode_png(wide);
  const auto red_at = [&](Fit fit, int x, int y) {
    const std::vector<float> pixels = load_pixels(bytes, {.size = 10, .mean = {0, 0, 0}, .std = {1, 1, 1}, .fit = fit});
    EXPECT_EQ(pixels.size(), 300u);
    return pixels[static_cast<std::size_t>(y * 10 + x)];
  };
  EXPECT_LT(red_at(Fit::crop, 0, 5), 0.2F);  // the red quarter at the left is cut off
  EXPECT_EQ(red_at(Fit::stretch, 0, 5), 1);
  EXPECT_EQ(red_at(Fit::pad, 0, 5), 1);
  EXPECT_EQ(red_at(Fit::pad, 0, 0), 0);  // what is around
  EXPECT_THAT(error_of([&] { load_pixels(encode_png(Image(1, 2000)), {.size = 10}); }), HasSubstr("too narrow"));
  EXPECT_THAT(error_of([&] { load_pixels(encode_png(Image(60000, 1)), {.size = 10, .fit = Fit::pad}); }),
              HasSubstr("too large as a square"));
  EXPECT_THAT(error_of([] { parse_fit("squeeze"); }), HasSubstr("stretch"));
}

// 214 x 224/214 is 224 in whole numbers, 428 x 224/214 is 448: not one less, as it is in floating point.
TEST(Pixels, SidesAreRoundedAsClipsAre) {
  Image wide(428, 214);
  for (int y = 0; y < 214; ++y) {
    for (int x = 0; x < 428; ++x) wide.at(x, y)[x % 3] = static_cast<std::uint8_t>(x + y);
  }
  const ImageSpec spec{.size = 224, .mean = {0, 0, 0}, .std = {1, 1, 1}};
  EXPECT_EQ(load_pixels(encode_png(wide), spec),
            normalise_chw(resize_bicubic_window(wide, 448, 224, {112, 0, 224, 224}), spec.mean, spec.std));
}

}  // namespace
}  // namespace skymm
