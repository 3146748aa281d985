#include "parallel/grid.hpp"

#include "core/error.hpp"
#include "parallel/communicator.hpp"
#include "support/text.hpp"

namespace skymm {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;

TEST(Grid, EveryRankHasOnePlaceInEitherOrder) {
  const GridShape shape{3, 4};
  for (const GridOrder order : {GridOrder::pipeline_inside, GridOrder::data_inside}) {
    std::vector<int> seen(12, 0);
    for (int rank = 0; rank < shape.size(); ++rank) {
      const GridPlace place = place_of(shape, order, rank);
      EXPECT_EQ(rank_of(shape, order, place), rank);
      ASSERT_TRUE(0 <= place.data && place.data < 3 && 0 <= place.stage && place.stage < 4);
      ++seen[static_cast<std::size_t>(place.data * 4 + place.stage)];
    }
    EXPECT_THAT(seen, ::testing::Each(1));
  }
}

TEST(Grid, TheInsideOnesAreConsecutive) {
  EXPECT_EQ(place_of({2, 3}, GridOrder::pipeline_inside, 1).stage, 1);
  EXPECT_EQ(place_of({2, 3}, GridOrder::pipeline_inside, 1).data, 0);
  EXPECT_EQ(place_of({2, 3}, GridOrder::data_inside, 1).stage, 0);
  EXPECT_EQ(place_of({2, 3}, GridOrder::data_inside, 1).data, 1);
}

TEST(Grid, ShapesOfARankCount) {
  EXPECT_THAT(grids_of(12, 100), ElementsAre(GridShape{12, 1}, GridShape{6, 2}, GridShape{4, 3}, GridShape{3, 4},
                                             GridShape{2, 6}, GridShape{1, 12}));
  EXPECT_THAT(grids_of(12, 3), ElementsAre(GridShape{12, 1}, GridShape{6, 2}, GridShape{4, 3}));
}

TEST(Grid, DataParallelRanksFollowFromTheRest) {
  EXPECT_EQ(resolve_grid(8, 0, 2, 10), (GridShape{4, 2}));
  EXPECT_EQ(resolve_grid(8, 4, 2, 10), (GridShape{4, 2}));
  EXPECT_EQ(resolve_grid(1, 0, 1, 1), (GridShape{1, 1}));
}

TEST(Grid, WhatDoesNotFitIsToldWhatWould) {
  EXPECT_THAT(error_of([] { resolve_grid(6, 0, 4, 10); }), HasSubstr("6 x 1, 3 x 2, 2 x 3, 1 x 6"));
  EXPECT_THAT(error_of([] { resolve_grid(6, 2, 2, 10); }), HasSubstr("has 4 ranks, but the job has 6"));
  const std::string error = error_of([] { resolve_grid(8, 0, 8, 5); });
  EXPECT_THAT(error, HasSubstr("into 5 at most"));
  EXPECT_THAT(error, HasSubstr("8 x 1, 4 x 2, 2 x 4"));
  EXPECT_THAT(error_of([] { resolve_grid(2, 0, 4, 10); }), HasSubstr("2 x 1, 1 x 2"));  // fewer ranks than stages
}

TEST(Grid, OneRankAlone) {
  SingleCommunicator one;
  const Grid grid(one, {1, 1}, GridOrder::pipeline_inside);
  EXPECT_TRUE(grid.first_stage() && grid.last_stage());
  EXPECT_EQ(grid.data().size() * grid.pipeline().size(), 1);
  EXPECT_THAT(grid.table(), HasSubstr("stage"));
  EXPECT_THAT(error_of([&] { Grid(one, {2, 1}, GridOrder::data_inside); }), HasSubstr("does not hold the 1 ranks"));
}

TEST(Grid, CountsTheReplicasOnANode) {
  const auto replicas = [](GridShape shape, GridOrder order, int ranks_per_node) {
    return replicas_on_node(shape, order, ranks_per_node);
  };
  EXPECT_EQ(replicas({4, 1}, GridOrder::pipeline_inside, 1), 1);
  EXPECT_EQ(replicas({4, 1}, GridOrder::pipeline_inside, 2), 2);
  EXPECT_EQ(replicas({4, 1}, GridOrder::pipeline_inside, 8), 4);
  EXPECT_EQ(replicas({4, 2}, GridOrder::pipeline_inside, 4), 2);  // d0 s0, d0 s1, d1 s0, d1 s1 | ...
  EXPECT_EQ(replicas({4, 2}, GridOrder::pipeline_inside, 2), 1);
  EXPECT_EQ(replicas({4, 2}, GridOrder::data_inside, 2), 2);      // d0 s0, d1 s0 | d2 s0, d3 s0 | ...
  EXPECT_EQ(replicas({3, 1}, GridOrder::pipeline_inside, 2), 1);  // the last node has one rank alone
}

}  // namespace
}  // namespace skymm
