#include "core/tensor.hpp"

#include <cmath>
#include <limits>

#include "core/error.hpp"
#include "support/support.hpp"

namespace skymm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::on_every_stream;

Tensor counted(const Shape& shape) {
  std::vector<float> values(static_cast<std::size_t>(shape.numel()));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  return Tensor::from(values, shape);
}

TEST(Tensor, ViewsShareStorageAndKeepOrder) {
  const Tensor x = counted({2, 3});
  const Tensor columns = x.slice(1, 1, 3);
  EXPECT_TRUE(columns.shares_storage(x));
  EXPECT_FALSE(columns.is_contiguous());
  EXPECT_THAT(columns.to_vector(), ElementsAre(1, 2, 4, 5));
  EXPECT_THAT(x.transpose(0, 1).to_vector(), ElementsAre(0, 3, 1, 4, 2, 5));
  EXPECT_EQ(counted({2, 6}).slice(1, 2, 6).split_last(2, 2).shape(), (Shape{2, 2, 2}));
  EXPECT_THAT(counted({2, 6}).slice(1, 2, 6).split_last(2, 2).transpose(0, 1).to_vector(),
              ElementsAre(2, 3, 8, 9, 4, 5, 10, 11));
  columns.fill(7);
  EXPECT_THAT(x.to_vector(), ElementsAre(0, 7, 7, 3, 7, 7));
}

TEST(Tensor, CopiesAndAddsConvertAcrossStridesAndTypes) {
  on_every_stream([] {
    const Tensor x = counted({3, 4});
    const Tensor half = x.transpose(0, 1).to(DType::bf16);
    EXPECT_THAT(half.to_vector(), ElementsAre(0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11));
    const Tensor sum = Tensor::full({3, 4}, DType::f32, 1);
    sum.transpose(0, 1).add(half, 2.0F);
    EXPECT_THAT(sum.slice(0, 1, 2).to_vector(), ElementsAre(9, 11, 13, 15));
    const Tensor large = Tensor::full({300, 301}, DType::bf16, 3);
    large.add(Tensor::full({300, 301}, DType::f32, 0.5));
    EXPECT_THAT(large.to_vector(), ::testing::Each(3.5F));
  });
}

TEST(Tensor, MisuseIsRefusedWithTheShape) {
  const Tensor x = counted({2, 3});
  const auto message = [](auto f) -> std::string {
    try {
      f();
    } catch (const Error& error) {
      return error.message();
    }
    return "no error";
  };
  EXPECT_THAT(message([&] { x.view({4, 2}); }), HasSubstr("[2, 3] cannot be viewed as [4, 2]"));
  EXPECT_THAT(message([&] { x.slice(1, 2, 4); }), HasSubstr("out of range"));
  EXPECT_THAT(message([&] { x.transpose(0, 1).view({6}); }), HasSubstr("contiguous"));
  EXPECT_THAT(message([&] { x.data<double>(); }), HasSubstr("holds f32, not f64"));
  EXPECT_THAT(message([&] { Tensor().data<float>(); }), HasSubstr("undefined"));
  EXPECT_THAT(message([&] { x.copy_from(counted({3, 2})); }), HasSubstr("cannot copy"));
  EXPECT_THAT(message([&] { Tensor::from(std::vector<float>{1, 2}, {3}); }), HasSubstr("2 values"));
}

TEST(DType, HalfFloatsRoundToNearestEvenAndKeepNan) {
  EXPECT_EQ(BFloat16(1.0F).bits, 0x3f80);
  EXPECT_EQ(BFloat16(1.00390625F).bits, 0x3f80);  // a tie goes to even
  EXPECT_EQ(BFloat16(1.01171875F).bits, 0x3f82);  // so does this one, upwards
  EXPECT_TRUE(std::isnan(static_cast<float>(BFloat16(std::numeric_limits<float>::quiet_NaN()))));
  EXPECT_EQ(static_cast<float>(BFloat16(std::numeric_limits<float>::infinity())),
            std::numeric_limits<float>::infinity());
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {  // every f16 survives the way to float and back
    Float16 h;
    h.bits = static_cast<std::uint16_t>(bits);
    const auto value = static_cast<float>(h);
    if (std::isnan(value)) continue;
    ASSERT_EQ(Float16(value).bits, h.bits) << bits;
  }
  EXPECT_EQ(Float16(65520.0F).bits, 0x7c00);  // half-way to the next power rounds to infinity
  EXPECT_EQ(Float16(0x1p-24F).bits, 1);       // the smallest subnormal
  EXPECT_EQ(Float16(0x1p-25F).bits, 0);       // its half ties to even: zero
}

TEST(Memory, BooksBytesByPurposeAndReusesBlocks) {
  CachingAllocator& allocator = cpu().allocator();
  const MemoryUse before = allocator.use(Purpose::optimizer);
  void* first = nullptr;
  {
    const PurposeScope purpose(Purpose::optimizer);
    const Tensor x = Tensor::zeros({1000}, DType::f32);
    first = x.raw();
    const std::size_t booked = allocator.use(Purpose::optimizer).current - before.current;
    EXPECT_GE(booked, 4000U);
    EXPECT_LE(booked, 4500U);
  }
  EXPECT_EQ(allocator.use(Purpose::optimizer).current, before.current);
  EXPECT_GE(allocator.use(Purpose::optimizer).peak, before.current + 4000);
  EXPECT_EQ(Tensor::zeros({1000}, DType::f32).raw(), first);
  EXPECT_THAT(allocator.report(), HasSubstr("optimizer"));
}

TEST(Memory, RunningOutNamesThePurposes) {
  try {
    Tensor::empty({std::int64_t{1} << 50}, DType::f32);
    FAIL() << "four petabytes were allocated";
  } catch (const Error& error) {
    EXPECT_THAT(error.message(), ::testing::AllOf(HasSubstr("out of memory on cpu"), HasSubstr("optimizer")));
  }
}

TEST(Stream, DeferredWorkRunsInOrderAndOnlyWhenWaitedFor) {
  DeferredStream a(cpu()), b(cpu());
  std::vector<int> order;
  a.enqueue([&] { order.push_back(1); });
  const Event event = a.record();
  a.enqueue([&] { order.push_back(2); });
  b.wait(event);
  b.enqueue([&] { order.push_back(3); });
  EXPECT_TRUE(order.empty());
  b.synchronize();
  EXPECT_THAT(order, ElementsAre(1, 3));
  a.synchronize();
  EXPECT_THAT(order, ElementsAre(1, 3, 2));
}

}  // namespace
}  // namespace skymm
