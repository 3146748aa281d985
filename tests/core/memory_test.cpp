// Memory of weights that comes from elsewhere than the allocator.
#include "core/memory.hpp"

#include <cstring>

#include "core/error.hpp"
#include "support/support.hpp"

namespace skymm {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

// A few kilobytes, handed out in order.
class Room final : public WeightMemory {
 public:
  void* allocate(std::size_t bytes) override {
    void* const at = bytes_ + used_;
    used_ += (bytes + 63) / 64 * 64;
    check(used_ <= sizeof bytes_, "the room is full");
    return at;
  }
  bool has(const Tensor& x) const {
    const auto* at = static_cast<const char*>(x.raw());
    return bytes_ <= at && at < bytes_ + sizeof bytes_;
  }
  std::size_t used() const { return used_; }

 private:
  alignas(64) char bytes_[4096] = {};
  std::size_t used_ = 0;
};

std::size_t booked() { return cpu().allocator().total().current; }

TEST(WeightMemory, TheScopeTakesWeightsAlone) {
  const auto room = std::make_shared<Room>();
  const std::size_t before = booked();
  const WeightMemoryScope scope(room);
  const Tensor activation = Tensor::full({100}, DType::f32, 1);
  EXPECT_FALSE(room->has(activation));
  EXPECT_GT(booked(), before);
  const std::size_t with_activation = booked();
  const PurposeScope purpose(Purpose::weights);
  const Tensor weight = Tensor::full({100}, DType::f32, 2);
  EXPECT_TRUE(room->has(weight));
  EXPECT_TRUE(weight.storage().is_in_weight_memory());
  EXPECT_EQ(booked(), with_activation);
  EXPECT_THAT(weight.to_vector(), Each(2));
  {
    const WeightMemoryScope none(nullptr);
    EXPECT_FALSE(room->has(Tensor::empty({100}, DType::f32)));
  }
  EXPECT_TRUE(room->has(Tensor::empty({1}, DType::f32)));
  EXPECT_THROW(Tensor::empty({4096}, DType::f32), Error);
}

TEST(WeightMemory, ATensorMovesUnderItsViews) {
  const auto room = std::make_shared<Room>();
  const Tensor x = Tensor::from(std::vector<float>{1, 2, 3, 4}, {2, 2});
  const Tensor row = x.slice(0, 1, 2);
  const std::size_t before = booked();
  x.storage().move_to(room, true);
  EXPECT_LT(booked(), before);
  EXPECT_TRUE(room->has(row));
  EXPECT_THAT(row.to_vector(), ElementsAre(3, 4));
  const std::size_t used = room->used();
  x.storage().move_to(room, true);
  EXPECT_EQ(room->used(), used) << "it moved twice";
  x.storage().drop();
  EXPECT_THROW(row.raw(), Error);
  x.storage().take();
  EXPECT_FALSE(room->has(x));
  EXPECT_EQ(booked(), before);
}

TEST(WeightMemory, WithoutContentsItIsWhatLiesThere) {
  const auto room = std::make_shared<Room>();
  const Tensor x = Tensor::full({3}, DType::f32, 5);
  x.storage().move_to(room, false);
  EXPECT_THAT(x.to_vector(), Each(0));
}

TEST(WeightMemory, StaysAsLongAsATensorIsThere) {
  auto room = std::make_shared<Room>();
  const std::weak_ptr<Room> seen = room;
  Tensor x = Tensor::full({3}, DType::f32, 5);
  x.storage().move_to(room, true);
  room.reset();
  EXPECT_THAT(x.to_vector(), Each(5));
  x = Tensor();
  EXPECT_TRUE(seen.expired());
}

TEST(ForgetfulStream, ChecksAndComputesNothing) {
  const Tensor x = Tensor::full({3}, DType::f32, 5);
  {
    ForgetfulStream nowhere(cpu());
    const StreamScope scope(nowhere);
    x.fill(7);
    EXPECT_THROW(x.copy_from(Tensor::empty({2}, DType::f32)), Error);
  }
  EXPECT_THAT(x.to_vector(), Each(5));
}

}  // namespace
}  // namespace skymm
