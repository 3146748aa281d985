// Tensors that cross over between the CPU and a GPU, by queued work on either side.
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "core/error.hpp"
#include "support/support.hpp"
#include "support/text.hpp"

namespace skymm {
namespace {

using testing::tested_device;
using testing::Values;
using testing::values_of;

const Shape shape{3, 4};

Tensor counted(Device& device, DType dtype) {
  const Tensor x = Tensor::from(std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, shape, device);
  x.add(x);  // enqueued: who copies too early copies half of it
  return x.to(dtype);
}
const Values doubled{0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22};

void copy_and_convert(Stream& stream) {
  const StreamScope scope(stream);
  for (const auto& [from, to] : {std::pair{&cpu(), &tested_device()}, {&tested_device(), &cpu()}}) {
    for (const DType type : {DType::f32, DType::bf16, DType::i32}) {
      SCOPED_TRACE(name_of(type));
      const Tensor source = counted(*from, DType::f32);
      EXPECT_EQ(values_of(source.to(*to)), doubled);
      const Tensor target = Tensor::full(shape, type, -1, *to);
      target.copy_from(source);
      source.fill(5);  // it was read
      EXPECT_EQ(values_of(target), doubled);
    }
  }
}

TEST(Transfer, CopiesBothWaysAndConverts) {
  DeferredStream host(cpu());
  copy_and_convert(host);
  copy_and_convert(*tested_device().make_stream());
}

TEST(Transfer, CopiesViews) {
  for (const auto& [from, to] : {std::pair{&cpu(), &tested_device()}, {&tested_device(), &cpu()}}) {
    const Tensor source = counted(*from, DType::bf16), target = Tensor::zeros(shape, DType::f32, *to);
    target.slice(1, 1, 3).copy_from(source.slice(1, 2, 4));
    EXPECT_EQ(values_of(target), (Values{0, 4, 6, 0, 0, 12, 14, 0, 0, 20, 22, 0}));
    target.transpose(0, 1).slice(0, 0, 3).copy_from(source.slice(1, 0, 3));
    EXPECT_EQ(values_of(target), (Values{0, 8, 16, 0, 2, 10, 18, 0, 4, 12, 20, 0}));
  }
}

// Dimensions of which some lie behind one another, in one tensor of the two or in both, as on the CPU.
TEST(Transfer, CopiesViewsOfManyDimensions) {
  const auto view = [](const Tensor& x, int which) {
    switch (which) {
      case 0:
        return x;
      case 1:
        return x.slice(1, 1, 3);
      case 2:
        return x.slice(2, 1, 2).transpose(0, 1);
      case 3:
        return x.transpose(1, 2);
      case 4:
        return x.slice(0, 1, 2).transpose(2, 3);
      default:
        return x.slice(3, 2, 3);
    }
  };
  const auto copied = [&](Device& device, int which, bool back) {
    const Tensor from = testing::random_tensor({2, 3, 4, 5}, DType::bf16, 1).to(device);
    const Tensor seen = view(from, which), plain = Tensor::zeros(seen.shape(), DType::f32, device);
    if (back) {
      plain.fill(2.5);
      seen.copy_from(plain);
      seen.add(seen);
      return values_of(from);
    }
    plain.copy_from(seen);
    return values_of(plain);
  };
  for (int which = 0; which < 6; ++which) {
    for (const bool back : {false, true}) {
      SCOPED_TRACE(which);
      EXPECT_EQ(copied(tested_device(), which, back), copied(cpu(), which, back));
    }
  }
}

// More than all pinned buffers hold, and a part of one; the emulation refuses host memory that is not pinned.
TEST(Transfer, MoreThanTheStagingBuffersHold) {
  std::vector<std::int32_t> values((std::size_t{21} << 20) / 4 + 1);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::int32_t>(i);
  const Tensor x = Tensor::from(values, {static_cast<std::int64_t>(values.size())}, tested_device());
  EXPECT_TRUE(x.to_vector<std::int32_t>() == values);
}

TEST(Transfer, ConvertsF16OnTheCpuWhichAloneKnowsIt) {
  const Tensor target = Tensor::zeros(shape, DType::bf16, tested_device());
  target.copy_from(counted(cpu(), DType::f16));
  EXPECT_EQ(values_of(target), doubled);
}

TEST(Transfer, SumsOfTwoDevicesAreRefused) {
  const Tensor here = Tensor::zeros({2}, DType::f32), there = Tensor::zeros({2}, DType::f32, tested_device());
  EXPECT_THAT(testing::error_of([&] { there.add(here); }), ::testing::HasSubstr("cannot add a tensor on cpu"));
  EXPECT_THAT(testing::error_of([&] { here.add(there); }), ::testing::HasSubstr("to one on cpu"));
}

}  // namespace
}  // namespace skymm
