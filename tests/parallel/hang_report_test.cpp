#include "parallel/hang_report.hpp"

#include "core/error.hpp"
#include "support/support.hpp"

namespace skymm {
namespace {

using State = RankStatus::State;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr double now = 1000;

RankView view(int rank, State state, int waits_for = -1) {
  RankView view{.rank = rank};
  view.status = RankStatus(state, {CallKind::all_reduce, DType::f32, -1, 0, 300, 17}, "data 1");
  view.status.since = now - 30;
  view.status.waits_for = waits_for;
  return view;
}

std::string report(int rank, const std::vector<RankView>& views) {
  return describe_hang(rank, views, now, [](int r) { return fmt::format("node{}", r); });
}

TEST(HangReport, NamesARankThatComputesAtTheEndOfTheChain) {
  EXPECT_EQ(
      report(0, {view(0, State::waiting, 1), view(1, State::waiting, 2), view(2, State::computing)}),
      "  rank 0 waits in all_reduce #17 (f32 x 300) of data 1 for rank 1, for 30 s\n"
      "  rank 1 waits in all_reduce #17 (f32 x 300) of data 1 for rank 2, for 30 s\n"
      "  rank 2 is in no call of a communicator for 30 s; its last call was all_reduce #17 (f32 x 300) of data 1\n"
      "rank 2 holds the others up: rank 1 waits for it in all_reduce #17 (f32 x 300) of data 1");
}

TEST(HangReport, NamesARankThatIsStopped) {
  RankView stopped = view(1, State::waiting, 0);  // in a call, but it cannot go on
  stopped.silent = 12;
  stopped.process = 'T';
  const std::string text = report(0, {view(0, State::waiting, 1), stopped});
  EXPECT_THAT(text, HasSubstr("rank 1 holds the others up"));
  EXPECT_THAT(text, HasSubstr("rank 1 gives no sign of life for 12 s (stopped by a signal); in all_reduce #17"));
  EXPECT_THAT(text, Not(HasSubstr("deadlock")));
}

TEST(HangReport, NamesARankWhoseProcessIsGoneAndOneThatHasEnded) {
  RankView gone = view(1, State::computing);
  gone.process = 'X';
  EXPECT_THAT(report(0, {view(0, State::waiting, 1), gone}), HasSubstr("rank 1 gives no sign of life for 0 s (its "
                                                                       "process is gone)"));
  EXPECT_THAT(report(0, {view(0, State::waiting, 1), view(1, State::finished)}),
              HasSubstr("rank 1 has ended its work; its last call was all_reduce #17"));
}

TEST(HangReport, TellsADeadlock) {
  const std::string text =
      report(0, {view(0, State::waiting, 2), view(1, State::waiting, 2), view(2, State::waiting, 1)});
  EXPECT_THAT(text, HasSubstr("deadlock: ranks 2, 1 wait for each other"));
}

TEST(HangReport, NamesAHostThatItCannotSee) {
  EXPECT_THAT(report(3, {view(3, State::waiting, 7)}), HasSubstr("rank 3 waits for rank 7 on host node7"));
}

TEST(HangReport, SaysWhatItSeesWhereNobodyKnowsForWhomToWait) {
  RankView silent = view(1, State::computing);
  silent.status.called = false;
  EXPECT_THAT(report(0, {view(0, State::waiting), silent}),
              HasSubstr("rank 1 is in no call of a communicator for 30 s; it "
                        "has called nothing yet"));
}

}  // namespace
}  // namespace skymm
