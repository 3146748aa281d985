#include "core/random.hpp"

#include <cmath>
#include <set>

#include "support/support.hpp"

namespace skymm {
namespace {

using ::testing::ElementsAre;

// Known answers of Random123's kat_vectors for philox4x32, 10 rounds.
TEST(Philox, KnownAnswers) {
  EXPECT_THAT(philox(0, {0, 0, 0, 0}), ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  EXPECT_THAT(philox(~std::uint64_t{0}, {~0U, ~0U, ~0U, ~0U}),
              ElementsAre(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd));
  EXPECT_THAT(philox(0x299f31d0a4093822, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}),
              ElementsAre(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1));
}

TEST(RandomKey, EachCoordinateMatters) {
  std::set<std::uint32_t> words;
  for (std::uint32_t step : {0, 1}) {
    for (std::uint32_t operation : {0, 1}) {
      for (std::uint32_t position : {0, 1}) {
        for (std::uint32_t element : {0, 1, 4}) words.insert(random_word({5, step, operation}, position, element));
      }
    }
  }
  EXPECT_EQ(words.size(), 24U);
}

TEST(RandomStream, MomentsAndRanges) {
  RandomStream random(1, 2);
  double sum = 0, squares = 0;
  constexpr int n = 100000;
  for (int i = 0; i < n; ++i) {
    const double x = random.normal();
    sum += x;
    squares += x * x;
    ASSERT_LT(random.below(7), 7U);
    const float u = random.uniform();
    ASSERT_TRUE(u >= 0 && u < 1);
  }
  EXPECT_NEAR(sum / n, 0, 0.02);
  EXPECT_NEAR(squares / n, 1, 0.02);
}

}  // namespace
}  // namespace skymm
