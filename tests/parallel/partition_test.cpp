// Cutting a model into stages: optimal, within memory, by hand; frozen parts weigh what they cost.
#include "parallel/pipeline/partition.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "core/error.hpp"
#include "core/random.hpp"

namespace skymm::testing {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

std::vector<BlockCost> costs_of(const std::vector<double>& forward) {
  std::vector<BlockCost> costs;
  for (const double time : forward) costs.push_back({.forward = time, .weights = 10 * time});
  return costs;
}

double slowest(const std::vector<BlockCost>& costs, const std::vector<BlockRange>& pieces) {
  double most = 0;
  for (const BlockRange piece : pieces) {
    const BlockCost cost = piece_cost(costs, piece);
    most = std::max(most, cost.forward + cost.recompute + cost.backward);
  }
  return most;
}

// The least that any cut into `pieces` takes whose every piece is at most `limit` blocks long.
double brute_force(const std::vector<double>& times, std::size_t begin, int pieces, std::size_t limit) {
  if (pieces == 0) return begin == times.size() ? 0 : infinity;
  double best = infinity, own = 0;
  for (std::size_t end = begin + 1; end <= times.size() && end - begin <= limit; ++end) {
    own += times[end - 1];
    best = std::min(best, std::max(own, brute_force(times, end, pieces - 1, limit)));
  }
  return best;
}

std::string message_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.message();
  }
  return "no error";
}

TEST(Partition, IsAsGoodAsTheBestOfAllCuts) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    RandomStream random(seed);
    std::vector<double> times(static_cast<std::size_t>(4 + random.below(9)));
    for (double& time : times) time = static_cast<double>(random.below(20));
    for (int stages = 1; stages <= 4; ++stages) {
      const std::vector<BlockRange> pieces = partition(costs_of(times), {.stages = stages});
      ASSERT_EQ(pieces.size(), static_cast<std::size_t>(stages));
      std::int64_t next = 0;
      for (const BlockRange piece : pieces) {
        EXPECT_EQ(piece.begin, next);
        EXPECT_GT(piece.size(), 0);
        next = piece.end;
      }
      EXPECT_EQ(next, static_cast<std::int64_t>(times.size()));
      EXPECT_DOUBLE_EQ(slowest(costs_of(times), pieces), brute_force(times, 0, stages, times.size()));
    }
  }
}

TEST(Partition, TheFastestOfTheCutsThatFit) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    RandomStream random(seed);
    std::vector<double> times(9);
    for (double& time : times) time = static_cast<double>(1 + random.below(20));
    const MemoryLimit memory{.limit = 3, .bytes = [](int, const std::vector<BlockRange>& pieces) {
                               return static_cast<double>(pieces[0].size());
                             }};
    EXPECT_DOUBLE_EQ(slowest(costs_of(times), partition(StageCosts(costs_of(times)), {.stages = 4}, memory)),
                     brute_force(times, 0, 4, 3));
    EXPECT_THAT(message_of([&] { partition(StageCosts(costs_of(times)), {.stages = 2}, memory); }),
                ::testing::ContainsRegex("stage [01] needs"));
  }
}

TEST(Partition, StagesOfSeveralPiecesAreHeldToTheLimitToo) {
  const std::vector<BlockCost> costs = costs_of({1, 1, 1, 1, 1, 1, 1, 1});
  EXPECT_EQ(pieces_of_stage(partition(costs, {.stages = 2, .chunks = 2}), 2, 1),
            (std::vector<BlockRange>{{2, 4}, {6, 8}}));
  const auto blocks = [](int, const std::vector<BlockRange>& pieces) {
    double sum = 0;
    for (const BlockRange piece : pieces) sum += static_cast<double>(piece.size());
    return sum * 1024 * 1024 * 1024;
  };
  EXPECT_EQ(partition(costs, {.stages = 2, .chunks = 2}, {.limit = 4.0 * (1 << 30), .bytes = blocks}).size(), 4U);
  EXPECT_THAT(
      message_of([&] { partition(costs, {.stages = 2, .chunks = 2}, {.limit = 3.0 * (1 << 30), .bytes = blocks}); }),
      ::testing::HasSubstr("needs 4.00 GiB of 3.00 and lacks 1.00"));
}

TEST(Partition, MorePiecesThanBlocksIsAnError) {
  EXPECT_THAT(message_of([] { partition(costs_of({1, 2}), {.stages = 3}); }), ::testing::HasSubstr("2 blocks"));
  EXPECT_THAT(message_of([] { partition(costs_of({1, 2}), {.stages = 0}); }), ::testing::HasSubstr("0 stages"));
}

MultimodalConfig pico() {
  MultimodalConfig config;
  config.vision = vision_preset("vit-pico");
  config.decoder = decoder_preset("pico");
  config.resampler = {.kind = ResamplerKind::qwen, .queries = 4, .heads = 2};
  config.lora = {.rank = 4};
  return config;
}

constexpr StepCounts counts{.tokens = 512, .labels = 128, .images = 8, .resampled = 8, .mean_length = 64};

TEST(Partition, AFrozenModelIsCutElsewhereThanATrainedOne) {
  MultimodalConfig config;
  config.vision = vision_preset("vit-b16");
  config.decoder = decoder_preset("smollm2-135m");
  config.resampler = {.kind = ResamplerKind::perceiver, .queries = 16, .heads = 4};
  config.lora = {.rank = 8};
  const std::vector<BlockRange> frozen = partition(block_costs(config, counts, {}), {.stages = 4});
  config.trainable = {.vision = true, .resampler = true, .decoder = true};
  const std::vector<BlockRange> trained = partition(block_costs(config, counts, {}), {.stages = 4});
  EXPECT_GT(frozen[0].size(), trained[0].size()) << "a ViT without a backward is cheap";
  EXPECT_NE(frozen, trained);
}

TEST(Partition, StagesThatComputeMoreAgainGetFewerBlocks) {
  MultimodalConfig config = pico();
  config.vision.reset();
  const auto cut = [&](std::vector<Recompute> modes, int chunks) {
    return partition(StageCosts(config, counts, {}, modes), {.stages = 2, .chunks = chunks});
  };
  const std::int64_t even = cut({Recompute::full}, 1)[0].end;
  EXPECT_LT(cut({Recompute::full, Recompute::none}, 1)[0].end, even);
  EXPECT_LT(cut({Recompute::attention_mlp, Recompute::none}, 1)[0].end, even);
  EXPECT_GT(cut({Recompute::none, Recompute::full}, 1)[0].end, even);
  const std::vector<BlockRange> chunks = cut({Recompute::full, Recompute::none}, 2);
  EXPECT_LT(chunks[0].size() + chunks[2].size(), chunks[1].size() + chunks[3].size());
}

TEST(Partition, AHeavyVitIsAStageThatTrainsNothing) {
  MultimodalConfig config = pico();
  config.vision = vision_preset("vit-b16");
  const std::vector<BlockCost> costs = block_costs(config, counts, {});
  const std::vector<BlockRange> pieces = partition(costs, {.stages = 2});
  EXPECT_LE(pieces[0].end, first_block(config, BlockKind::resampler));
  EXPECT_EQ(piece_cost(costs, pieces[0]).trained, 0);
  EXPECT_EQ(piece_cost(costs, pieces[0]).backward, 0);
  EXPECT_THAT(partition_table(config, costs, pieces, 2), ::testing::ContainsRegex("0 +vision.0 - vision[.0-9]+ +0 "));
  const double forward = piece_cost(costs, pieces[0]).forward;  // takes 2.5 s where a rank does so much in them
  EXPECT_THAT(partition_table(config, costs, pieces, 2, forward / 2.5), ::testing::ContainsRegex("  2.5 s +0 s "));
}

TEST(Partition, CutsByHand) {
  const MultimodalConfig config = pico();  // vision.0 vision.1 resampler embedding layers.0 ... layers.15 head
  const std::vector<BlockRange> expected{{0, 2}, {2, 10}, {10, 20}, {20, 21}};
  EXPECT_EQ(manual_cuts(config, {"resampler", "layers.6", "head"}, 4), expected);
  EXPECT_EQ(manual_cuts(config, {"vision.0", "resampler", "layers.6", "head"}, 4), expected);
  EXPECT_EQ(manual_cuts(config, {}, 1), (std::vector<BlockRange>{{0, 21}}));
  EXPECT_EQ(name_of(config, {2, 10}), "resampler - layers.5");
  EXPECT_EQ(name_of(config, {20, 21}), "head");
  EXPECT_THAT(message_of([&] { manual_cuts(config, {"layers.16"}, 2); }), ::testing::HasSubstr("no block 'layers.16'"));
  EXPECT_THAT(message_of([&] {
                manual_cuts(config, {"layers.3", "layers.3"}, 3);
              }),
              ::testing::HasSubstr("not behind layers.3"));
  EXPECT_THAT(message_of([&] {
                manual_cuts(config, {"layers.3", "vision.0"}, 3);
              }),
              ::testing::HasSubstr("not behind"));
  EXPECT_THAT(message_of([&] { manual_cuts(config, {"layers.3"}, 3); }), ::testing::HasSubstr("make 2 pieces"));
}

}  // namespace
}  // namespace skymm::testing
