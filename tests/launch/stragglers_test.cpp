#include "launch/training/stragglers.hpp"

#include <gmock/gmock.h>

namespace skymm {
namespace {

std::vector<int> ranks_of(const std::vector<Straggler>& stragglers) {
  std::vector<int> ranks;
  for (const Straggler& s : stragglers) ranks.push_back(s.rank);
  return ranks;
}

TEST(Stragglers, AreComparedWithTheirStage) {
  // Two stages of four ranks; the second works twice as long as the first, which is no fault of anybody.
  const std::vector<int> stages{0, 1, 0, 1, 0, 1, 0, 1};
  EXPECT_TRUE(find_stragglers({1, 2, 1.1, 2.1, 0.9, 1.9, 1, 2}, stages).empty());
  const std::vector<Straggler> found = find_stragglers({1, 2, 1.5, 2, 1, 4, 1, 2}, stages);
  EXPECT_EQ(ranks_of(found), (std::vector<int>{5, 2}));
  EXPECT_EQ(found[0].seconds, 4);
  EXPECT_EQ(found[0].others, 2);
}

TEST(Stragglers, StagesAreComparedByTheirShareOfTheWork) {
  EXPECT_TRUE(find_slow_stages({1, 2.4, 3}, {10, 20, 30}).empty());
  std::vector<Straggler> found = find_slow_stages({1, 2, 6}, {10, 20, 30});
  EXPECT_EQ(ranks_of(found), (std::vector<int>{2}));
  EXPECT_EQ(found[0].seconds, 6);
  EXPECT_DOUBLE_EQ(found[0].others, 3);
  EXPECT_EQ(ranks_of(find_slow_stages({1, 1}, {10, 30})), (std::vector<int>{0}));  // the other does thrice as much
  EXPECT_TRUE(find_slow_stages({1, 1}, {0, 0}).empty());                           // nothing was computed
}

TEST(Stragglers, ARankAloneOnItsStageIsNone) { EXPECT_TRUE(find_stragglers({1, 9}, {0, 1}).empty()); }

}  // namespace
}  // namespace skymm
