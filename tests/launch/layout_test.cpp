#include "launch/assembly/layout.hpp"

#include <algorithm>

#include "launch/assembly/assembly.hpp"
#include "support/text.hpp"

namespace skymm {
namespace {

using testing::error_of;
using ::testing::HasSubstr;

// A pico model on some pipeline; 12 samples a step, 3 at a time.
TrainConfig on_pipeline(int stages) {
  TrainConfig config;
  config.model.decoder = "pico";
  config.model.vision = "vit-pico";
  config.model.queries = 4;
  config.train.global_batch = 12;
  config.train.micro_batch = 3;
  config.parallel.pipeline = stages;
  return config;
}

Layout layout_of(const TrainConfig& config, int ranks) { return make_layout(config, model_config(config, 512), ranks); }

TEST(Layout, PiecesCoverTheModelInOrder) {
  TrainConfig config = on_pipeline(4);
  config.parallel.schedule = "interleaved";
  config.parallel.chunks = 2;
  const Layout layout = layout_of(config, 8);
  EXPECT_EQ(layout.grid, (GridShape{2, 4}));
  ASSERT_EQ(layout.pieces.size(), 8U);
  std::int64_t end = 0;
  for (const BlockRange& piece : layout.pieces) {
    EXPECT_EQ(piece.begin, end);
    EXPECT_GT(piece.size(), 0);
    end = piece.end;
  }
  EXPECT_EQ(end, all_blocks(model_config(config, 512)).end);
}

TEST(Layout, MicroBatchesFollowFromTheGlobalBatchAndAreAsManyOnEveryRank) {
  EXPECT_EQ(layout_of(on_pipeline(1), 1).training.shape.micro_batches, 4);
  EXPECT_EQ(layout_of(on_pipeline(2), 4).training.shape.micro_batches, 2);
  TrainConfig uneven = on_pipeline(1);
  uneven.parallel.uneven = "deal";
  EXPECT_EQ(layout_of(uneven, 3).training.shape.micro_batches, 2);  // 6 micro-batches of 2
  EXPECT_EQ(layout_of(on_pipeline(2), 4).validation.shape.micro_batches, 2);
}

TEST(Layout, AStageThatComputesMoreAgainGetsFewerLayers) {
  TrainConfig config = on_pipeline(2);
  config.model.recompute = {"none"};
  const std::int64_t alike = layout_of(config, 2).pieces[0].end;
  config.model.recompute = {"full", "none"};
  EXPECT_LT(layout_of(config, 2).pieces[0].end, alike);
  config.model.recompute = {"none", "full"};
  EXPECT_GT(layout_of(config, 2).pieces[0].end, alike);
}

TEST(Layout, StagesShareOutTheWorkOfAStep) {
  const StepCounts counts{.tokens = 300, .labels = 100, .images = 3, .resampled = 3, .mean_length = 100};
  const auto work = [&](int stages) {
    const TrainConfig config = on_pipeline(stages);
    return stage_work(config, model_config(config, 512), layout_of(config, stages).pieces, counts);
  };
  const std::vector<double> alone = work(1), shared = work(3);
  ASSERT_EQ(shared.size(), 3U);
  EXPECT_GT(std::ranges::min(shared), 0);
  EXPECT_NEAR(shared[0] + shared[1] + shared[2], alone[0], 1e-9 * alone[0]);
}

TEST(Layout, CutsByHandAreKept) {
  TrainConfig config = on_pipeline(3);
  config.parallel.cuts = {"embedding", "layers.5"};
  const MultimodalConfig model = model_config(config, 512);
  const Layout layout = layout_of(config, 3);
  EXPECT_EQ(layout.pieces[1].begin, first_block(model, BlockKind::embedding));
  EXPECT_EQ(layout.pieces[2].begin, first_block(model, BlockKind::layer) + 5);
  EXPECT_THAT(partition_table(model, layout.costs, layout.pieces, 3), HasSubstr("embedding - layers.4"));
  config.parallel.cuts = {"embedding"};
  EXPECT_THAT(error_of([&] { layout_of(config, 3); }), HasSubstr("3"));
}

// What skymm plan says of the grid, schedule and limit that the config has.
Plan planned(const TrainConfig& config, int ranks) {
  const MultimodalConfig model = model_config(config, 512);
  for (const Plan& plan :
       plan(plan_input(config, model, compute_form(parse_dtype(config.model.dtype), cpu()), ranks, 1))) {
    if (plan.grid.pipeline == config.parallel.pipeline && name_of(plan.schedule) == config.parallel.schedule &&
        plan.chunks == config.parallel.chunks && (plan.grid.data == 1 || plan.zero_stage == config.parallel.zero)) {
      return plan;
    }
  }
  return {};
}

TEST(Layout, UnderALimitOfMemoryTheModelIsCutAsPlanned) {
  for (const int ranks : {2, 4}) {
    TrainConfig config = on_pipeline(2);
    const Plan free = planned(config, ranks);
    EXPECT_EQ(layout_of(config, ranks).pieces, free.pieces);
    Plan limited;
    for (double share = 0.99; share > 0.5 && (limited.pieces.empty() || limited.pieces == free.pieces); share -= 0.01) {
      config.parallel.memory = fmt::format("{}", share * free.largest().total());
      limited = planned(config, ranks);
    }
    ASSERT_EQ(limited.problem, "");
    ASSERT_NE(limited.pieces, free.pieces);
    EXPECT_EQ(layout_of(config, ranks).pieces, limited.pieces);
    config.parallel.cuts = {"layers.1"};
    config.parallel.memory = "1M";
    EXPECT_THAT(error_of([&] { layout_of(config, ranks); }), HasSubstr("needs"));
    config.parallel.cuts = {};
    EXPECT_THAT(error_of([&] { layout_of(config, ranks); }), HasSubstr("the model does not fit: at best stage"));
  }
}

TEST(Layout, WhatDoesNotFitIsSaidBeforeAnythingIsLoaded) {
  EXPECT_THAT(error_of([] { layout_of(on_pipeline(2), 3); }), HasSubstr("3 x 1, 1 x 3"));
  EXPECT_THAT(error_of([] { layout_of(on_pipeline(99), 99); }), HasSubstr("longer than the model"));
  EXPECT_THAT(error_of([] { layout_of(on_pipeline(1), 16); }), HasSubstr("no sample for each of 16"));
  EXPECT_THAT(error_of([] { layout_of(on_pipeline(1), 3); }), HasSubstr("12 is not a multiple of 9"));
  EXPECT_THAT(error_of([] { layout_of(on_pipeline(1), 3); }), HasSubstr("take 9 or 18"));
  EXPECT_THAT(error_of([] { layout_of(on_pipeline(1), 8); }), HasSubstr("take 24"));
}

// pico's head is its embedding table. Where that trains, the last stage has to have both.
TEST(Layout, ATableThatTrainsIsNotTornApart) {
  TrainConfig config = on_pipeline(2);
  config.model.train = {"resampler", "decoder"};
  const MultimodalConfig model = model_config(config, 512);
  ASSERT_TRUE(model.decoder.tied);
  const BlockRange last = layout_of(config, 2).pieces[1];
  EXPECT_LE(last.begin, first_block(model, BlockKind::embedding));
  config.parallel.cuts = {"layers.1"};
  EXPECT_THAT(error_of([&] { layout_of(config, 2); }), HasSubstr("one stage must hold both"));
  config.parallel.cuts = {};
  config.parallel.pipeline = static_cast<int>(first_block(model, BlockKind::embedding)) + 2;
  EXPECT_THAT(error_of([&] { layout_of(config, config.parallel.pipeline); }), HasSubstr("Take fewer stages"));
}

}  // namespace
}  // namespace skymm
