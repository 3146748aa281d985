#include "launch/training/step_guard.hpp"

#include <cmath>
#include <limits>

#include "support/text.hpp"

namespace skymm {
namespace {

using ::testing::HasSubstr;

constexpr double infinity = std::numeric_limits<double>::infinity();

// Losses about 2 with a deviation of 0.1.
double usual(int i) { return i % 2 == 0 ? 1.9 : 2.1; }

StepGuard after_usual(const StepGuard::Options& options, int steps) {
  StepGuard guard(options);
  for (int i = 0; i < steps; ++i) guard.applied(usual(i));
  return guard;
}

TEST(StepGuard, ALossThatIsNotFiniteIsNeverApplied) {
  const StepGuard guard({});
  EXPECT_EQ(guard.objection(3), "");
  for (const double loss : {infinity, -infinity, std::nan("")}) {
    EXPECT_THAT(guard.objection(loss), HasSubstr("not finite"));
  }
}

TEST(StepGuard, SpikesAreMeasuredInDeviations) {
  for (const int steps : {20, 30, 1000}) {
    SCOPED_TRACE(steps);
    const StepGuard guard = after_usual({.spike_zscore = 4}, steps);
    EXPECT_EQ(guard.objection(2.3), "");
    EXPECT_EQ(guard.objection(0.1), "") << "a fall is no spike";
    EXPECT_THAT(guard.objection(2.5), HasSubstr("the loss of 2.5000 is "));
    EXPECT_EQ(after_usual({.spike_zscore = 0}, steps).objection(100), "");
  }
  EXPECT_EQ(after_usual({.spike_zscore = 4}, 19).objection(100), "") << "too few to tell";
}

TEST(StepGuard, TooManyInARowEndTheRun) {
  StepGuard guard({.most_skipped = 3});
  EXPECT_FALSE(guard.skipped());
  EXPECT_FALSE(guard.skipped());
  guard.applied(1);
  EXPECT_FALSE(guard.skipped());
  EXPECT_FALSE(guard.skipped());
  EXPECT_TRUE(guard.skipped());
  EXPECT_EQ(guard.skipped_so_far(), 5);
}

TEST(StepGuard, GoesOnFromItsStateAsIfNothingHadHappened) {
  const StepGuard::Options options{.spike_zscore = 2};
  StepGuard whole = after_usual(options, 25), resumed(options);
  whole.skipped();
  resumed.restore(nlohmann::json::parse(whole.state().dump()));
  for (int i = 0; i < 10; ++i) {
    whole.applied(usual(i));
    resumed.applied(usual(i));
  }
  EXPECT_EQ(resumed.objection(2.7), whole.objection(2.7));
  EXPECT_EQ(resumed.state(), whole.state());
  resumed.restore(nlohmann::json::object());  // of a version that knew no guard
  EXPECT_EQ(resumed.state(), StepGuard(options).state());
}

}  // namespace
}  // namespace skymm
