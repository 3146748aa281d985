// Memory of weights that comes from elsewhere than the allocator; what the allocator makes of a device's.
#include "core/memory.hpp"

#include <cstdlib>
#include <cstring>

#include "core/error.hpp"
#include "support/support.hpp"
#include "support/text.hpp"

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

// Has `room` bytes, and work with bare pointers, as a GPU. It computes nothing.
class SmallDevice final : public Device {
 public:
  explicit SmallDevice(std::size_t room) : room_(room) {}

  DeviceKind kind() const override { return DeviceKind::cuda; }
  std::string name() const override { return "small device"; }
  void* raw_allocate(std::size_t bytes) override {
    if (bytes > room_) return nullptr;
    room_ -= bytes;
    return std::malloc(bytes);
  }
  void raw_release(void* pointer, std::size_t bytes) override {
    room_ += bytes;
    std::free(pointer);
  }
  CachingAllocator& allocator() override { return allocator_; }
  std::unique_ptr<Stream> make_stream() override { return std::make_unique<ImmediateStream>(*this); }
  Stream& default_stream() override { return stream_; }
  void copy(const Tensor&, Tensor) override { fail("it does not copy"); }
  void fill(Tensor, double) override { fail("it does not fill"); }
  void add(const Tensor&, Tensor, float) override { fail("it does not add"); }
  void to_host(const Tensor&, void*) override { fail("it does not copy"); }
  void from_host(const void*, Tensor) override { fail("it does not copy"); }

  std::size_t room() const { return room_; }

 private:
  std::size_t room_;
  CachingAllocator allocator_{*this, WorkOn::released_memory};
  ImmediateStream stream_{*this};
};

constexpr std::int64_t kib = 1024;
Tensor taken(std::int64_t bytes, Device& device) { return Tensor::empty({bytes}, DType::u8, device); }

TEST(DeviceMemory, TakesABlockThatIsALittleLarger) {
  SmallDevice device(4096 * kib);
  CachingAllocator& memory = device.allocator();
  const void* first = taken(1024 * kib, device).raw();
  {
    const Tensor smaller = taken(832 * kib, device);
    EXPECT_EQ(smaller.raw(), first);
    EXPECT_EQ(memory.total().current, 1024U * kib) << "the books have another size than the block";
    EXPECT_EQ(memory.cached(), 0U);
  }
  EXPECT_EQ(memory.total().current, 0U);
  EXPECT_EQ(memory.cached(), 1024U * kib);
  EXPECT_NE(taken(768 * kib, device).raw(), first) << "a quarter of the block would lie idle";
  EXPECT_EQ(taken(1024 * kib, device).raw(), first);
  memory.trim();
  EXPECT_EQ(device.room(), 4096U * kib);
}

TEST(DeviceMemory, GivesBackNoMoreThanIsMissing) {
  SmallDevice device(7168 * kib);
  CachingAllocator& memory = device.allocator();
  { const Tensor a = taken(1024 * kib, device), b = taken(2048 * kib, device), c = taken(4096 * kib, device); }
  const Tensor x = taken(3072 * kib, device);
  EXPECT_EQ(memory.cached(), 3072U * kib);
  const Tensor y = taken(1024 * kib, device), z = taken(2048 * kib, device);
  EXPECT_EQ(memory.cached(), 0U);
  EXPECT_THAT(testing::error_of([&] { taken(2048 * kib, device); }), ::testing::HasSubstr("out of memory"));
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
