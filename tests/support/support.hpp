// What the tests share: random tensors, errors against references in double precision, finite differences.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <vector>

#include "core/tensor.hpp"

namespace skymm::testing {

using Values = std::vector<double>;  // row-major

// The device whose kernels are tested, where the random tensors below are: the environment variable SKYMM_TEST_DEVICE's
// (a name of open_device()), else the cpu. SKYMM_TEST_CUDNN=1: cuDNN computes there what it can. Where there is no such
// device, or no cuDNN, the test program ends with 77, "skipped".
Device& tested_device();

// Normal values of deviation `scale`, rounded to `dtype` (so that a reference can start from the same numbers).
Tensor random_tensor(const Shape& shape, DType dtype, std::uint64_t seed, double scale = 1.0);
Values values_of(const Tensor& x);
Tensor tensor_of(const Values& values, const Shape& shape, DType dtype);

// ||a - b|| / ||b||; ||a|| where b is zero. Not-a-number anywhere gives infinity.
double relative_error(const Values& a, const Values& b);

// The bound that a primitive's result is held to against its double-precision reference.
inline double tolerance(DType dtype) { return dtype == DType::bf16 ? 1e-2 : 2e-6; }

#define EXPECT_CLOSE(tensor, reference, bound) \
  EXPECT_LE(::skymm::testing::relative_error(::skymm::testing::values_of(tensor), reference), bound)

// d(sum of weights * f(x)) / dx by central differences: holds a reference's gradient to its own forward.
Values finite_difference_gradient(const std::function<Values(const Values&)>& f, Values x, const Values& weights,
                                  double step = 1e-5);

// Of the tested device; its work waits until somebody waits for it, where the device can do that.
std::unique_ptr<Stream> deferred_stream();

// Whether the environment variable SKYMM_TEST_SHAPES is small: for runs where an access costs hundreds of times what it
// costs else. Tables of cases then leave out the large ones.
bool only_small_shapes();

// Runs `body` once on the default stream and once on a deferred stream, which it then synchronises by reading results.
// On the first alone where only small shapes are asked for.
void on_every_stream(const std::function<void()>& body);

}  // namespace skymm::testing
