#include "parallel/ledger.hpp"

#include "core/error.hpp"
#include "parallel/communicator.hpp"
#include "support/support.hpp"

namespace skymm {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(Call, ReadsAsASentence) {
  EXPECT_EQ((Call{CallKind::all_reduce, DType::f32, -1, 0, 4096, 17}.str()), "all_reduce #17 (f32 x 4096)");
  EXPECT_EQ((Call{CallKind::recv, DType::bf16, 1, 7, 64, 3}.str()), "recv #3 from rank 1 with tag 7 (bf16 x 64)");
  EXPECT_EQ((Call{CallKind::send, DType::u8, 2, 0, 5, 1}.str()), "send #1 to rank 2 (u8 x 5)");
  EXPECT_EQ((Call{CallKind::broadcast, DType::i64, 0, 0, 1, 2}.str()), "broadcast #2 from rank 0 (i64 x 1)");
  EXPECT_EQ((Call{.kind = CallKind::barrier, .number = 4}.str()), "barrier #4");
}

TEST(Ledger, NumbersCollectivesAndMessagesApart) {
  Ledger ledger("data 3");
  EXPECT_EQ(ledger.begin({CallKind::all_reduce}).number, 1U);
  EXPECT_EQ(ledger.begin({CallKind::send, DType::f32, 1}).number, 1U);
  EXPECT_EQ(ledger.begin({CallKind::barrier}).number, 2U);
  EXPECT_EQ(ledger.begin({CallKind::recv, DType::f32, 1}).number, 2U);
}

TEST(Ledger, TellsWhatIsUnderWay) {
  Ledger ledger("data 3");
  const Call first = ledger.begin({CallKind::all_reduce, DType::f32, -1, 0, 10});
  ledger.begin({CallKind::all_gather, DType::f32, -1, 0, 20});
  ledger.complete(first, 40, 48);
  EXPECT_THAT(ledger.str(), HasSubstr("all_reduce #1 (f32 x 10), complete\nall_gather #2 (f32 x 20), begun"));
  EXPECT_THAT(all_ledgers(64), HasSubstr("data 3:\nall_reduce #1"));
  EXPECT_EQ(ledger.counts().of(CallKind::all_reduce).received, 48);
  EXPECT_EQ(ledger.counts().of(CallKind::all_gather).calls, 1);
}

TEST(Ledger, ForgetsAllButTheLast) {
  Ledger ledger("busy");
  for (std::size_t i = 0; i < Ledger::kept + 5; ++i) ledger.complete(ledger.begin({CallKind::barrier}), 0, 0);
  EXPECT_THAT(ledger.str(), Not(HasSubstr("#5,")));
  EXPECT_TRUE(ledger.str().starts_with("barrier #6, complete\n"));
  EXPECT_EQ(ledger.str(1), "barrier #69, complete\n");
  EXPECT_EQ(ledger.counts().of(CallKind::barrier).calls, 69);
}

TEST(Ledger, CountsOutliveTheirCommunicator) {
  const CommunicationCounts before = communication_counts();
  {
    SingleCommunicator one("brief");
    one.all_reduce(Tensor::zeros({4}, DType::f32));
    EXPECT_THAT(one.ledger().str(), HasSubstr("all_reduce #1 (f32 x 4), complete"));
    EXPECT_EQ(one.split(2, 0)->name(), "brief part 2");
    EXPECT_EQ(one.split(2, 0, "pipeline 2")->name(), "pipeline 2");
  }
  EXPECT_EQ((communication_counts() - before).of(CallKind::all_reduce).calls, 1);
  EXPECT_EQ((communication_counts() - before).of(CallKind::split).calls, 2);
}

TEST(CheckAgreement, NamesWhoDiverges) {
  const Call sum{CallKind::all_reduce, DType::f32, -1, 0, 100, 5},
      gather{CallKind::all_gather, DType::f32, -1, 0, 20, 5};
  EXPECT_NO_THROW(check_agreement("world", {sum, sum, sum}));
  const auto error_of = [](const std::vector<Call>& calls) -> std::string {
    try {
      check_agreement("world", calls);
    } catch (const Error& error) {
      return error.message();
    }
    return "no error";
  };
  EXPECT_THAT(error_of({sum, sum, gather}), HasSubstr("of world disagree on what to call: rank 2 called all_gather #5 "
                                                      "(f32 x 20), but ranks 0, 1 called all_reduce #5 (f32 x 100)"));
  Call longer = sum, later = sum;
  longer.count = 101;
  later.number = 6;
  EXPECT_THAT(
      error_of({longer, sum, later, sum}),
      HasSubstr("rank 0 called all_reduce #5 (f32 x 101); rank 2 called all_reduce #6 (f32 x 100), but ranks 1, 3"));
  EXPECT_THAT(error_of({sum, gather}), HasSubstr("rank 1 called all_gather"));
}

}  // namespace
}  // namespace skymm
