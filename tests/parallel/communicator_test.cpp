#include "parallel/communicator.hpp"

#include <stdexcept>

#include "core/error.hpp"
#include "support/support.hpp"

namespace skymm {
namespace {

using ::testing::HasSubstr;
using ::testing::Test;

std::string error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.message();
  }
  return "no error";
}

TEST(SingleCommunicator, IsTheWorldWithoutALauncher) {
  const auto ranks = world();
  EXPECT_EQ(ranks->rank(), 0);
  EXPECT_EQ(ranks->size(), 1);
  EXPECT_EQ(ranks->split(3, 0)->size(), 1);
  ranks->barrier();
}

TEST(SingleCommunicator, CollectivesCopy) {
  SingleCommunicator one;
  const Tensor x = Tensor::from<float>({1, 2, 3}, {3});
  one.all_reduce(x);
  one.broadcast(x, 0);
  for (const auto& move : {std::function<void(Tensor)>([&](Tensor y) { one.reduce_scatter(x, y); }),
                           std::function<void(Tensor)>([&](Tensor y) { one.all_gather(x, y); }),
                           std::function<void(Tensor)>([&](Tensor y) { one.all_to_all(x, y); })}) {
    const Tensor y = Tensor::zeros({3}, DType::f32);
    move(y);
    EXPECT_THAT(y.to_vector(), ::testing::ElementsAre(1, 2, 3));
  }
}

TEST(SingleCommunicator, WaitsForTheStream) {
  SingleCommunicator one;
  testing::on_every_stream([&] {
    const Tensor x = Tensor::full({4}, DType::f32, 2), y = Tensor::zeros({4}, DType::f32);
    x.add(x);
    one.all_gather(x, y);
    EXPECT_EQ(y.to_vector(), std::vector<float>(4, 4.0F));
  });
}

TEST(SingleCommunicator, RefusesWrongBuffers) {
  SingleCommunicator one;
  const Tensor x = Tensor::zeros({2, 3}, DType::f32);
  EXPECT_THAT(error_of([&] { one.all_reduce(Tensor()); }), HasSubstr("all_reduce: tensor x is undefined"));
  EXPECT_THAT(error_of([&] { one.all_reduce(x.transpose(0, 1)); }), HasSubstr("not contiguous"));
  EXPECT_THAT(error_of([&] { one.all_reduce(Tensor::zeros({2}, DType::u8)); }), HasSubstr("cannot sum u8"));
  EXPECT_THAT(error_of([&] { one.all_gather(x, Tensor::zeros({5}, DType::f32)); }), HasSubstr("must have 6"));
  EXPECT_THAT(error_of([&] { one.reduce_scatter(x, Tensor::zeros({6}, DType::bf16)); }), HasSubstr("f32"));
  EXPECT_THAT(error_of([&] { one.broadcast(x, 1); }), HasSubstr("root 1"));
  EXPECT_THAT(error_of([&] { one.send(x, 0); }), HasSubstr("single rank"));
  EXPECT_THAT(error_of([&] { one.split(-1, 0); }), HasSubstr("negative"));
}

TEST(RunRanks, TurnsExceptionsIntoAnExitCode) {
  EXPECT_EQ(run_ranks([] { return 7; }), 7);
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(run_ranks([]() -> int { fail("no such file {}", "a.ini"); }), 1);
  EXPECT_EQ(run_ranks([]() -> int { throw std::runtime_error("plain"); }), 1);
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(said, HasSubstr("no such file a.ini"));
  EXPECT_THAT(said, HasSubstr("plain"));
}

// What unwinds past an unfinished operation must not wait for it.
TEST(Handle, DoesNotWaitWhileAnErrorUnwinds) {
  struct Never final : Handle::Operation {
    bool test() override { return false; }
    void wait() override { ADD_FAILURE() << "waited"; }
  };
  EXPECT_THROW(
      {
        const Handle handle(std::make_unique<Never>());
        throw std::runtime_error("the rank fails");
      },
      std::runtime_error);
}

}  // namespace
}  // namespace skymm
