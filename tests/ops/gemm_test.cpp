#include <omp.h>

#include "core/error.hpp"
#include "ops/reference/reference_matrix.hpp"

namespace skymm::testing {
namespace {

// Products of k numbers, each rounded: f32 sums in other orders differ by a few units in the last place.
double bound(DType dtype) { return dtype == DType::bf16 ? 6e-3 : 2e-6; }

struct Case {
  std::int64_t m, n, k;
};
constexpr Case cases[] = {{1, 1, 1},     {3, 5, 7},     {17, 33, 65},   {64, 64, 64}, {129, 16, 65},
                          {65, 129, 16}, {1, 300, 129}, {128, 48, 577}, {33, 1, 40}};

class GemmTest : public ::testing::TestWithParam<DType> {};

TEST_P(GemmTest, EqualsReferenceForEveryTransposition) {
  const DType dtype = GetParam();
  on_every_stream([&] {
    for (const auto& [m, n, k] : cases) {
      for (int which = 0; which < 4; ++which) {
        const Kernels::Gemm options{.transpose_a = (which & 1) != 0, .transpose_b = (which & 2) != 0, .alpha = 0.5F};
        SCOPED_TRACE(fmt::format("{}x{}x{} {}", m, n, k, which));
        const Tensor a = random_tensor({m, k}, dtype, 1), b = random_tensor({k, n}, dtype, 2);
        const Values expected = reference_product(values_of(a), values_of(b), m, k, n);
        const Tensor left = options.transpose_a ? a.transpose(0, 1).contiguous() : a;
        const Tensor right = options.transpose_b ? b.transpose(0, 1).contiguous() : b;
        const Tensor c = Tensor::full({m, n}, dtype, 7.0, tested_device()),
                     wide = Tensor::full({m, n}, DType::f32, 7.0, tested_device());
        kernels(a).gemm(left, right, c, options);
        kernels(a).gemm(left, right, wide, options);
        EXPECT_CLOSE(c, reference_sum(Values(expected.size()), expected, 0.5), bound(dtype));
        EXPECT_CLOSE(wide, reference_sum(Values(expected.size()), expected, 0.5), 2e-6);
      }
    }
  });
}

TEST_P(GemmTest, AccumulatesIntoStridedRowsAndLeavesTheRestAlone) {
  const DType dtype = GetParam();
  on_every_stream([&] {
    for (const auto& [m, n, k] : cases) {
      SCOPED_TRACE(fmt::format("{}x{}x{}", m, n, k));
      const Tensor a = random_tensor({m, k + 5}, dtype, 1).slice(1, 2, 2 + k);
      const Tensor b = random_tensor({k, n + 3}, dtype, 2).slice(1, 3, 3 + n);
      const Tensor all = random_tensor({m, n + 9}, dtype, 3);
      const Tensor c = all.slice(1, 4, 4 + n), before = all.slice(1, 0, 4).clone(),
                   after = all.slice(1, 4 + n, n + 9).clone();
      const Values expected = reference_sum(values_of(c), reference_product(values_of(a), values_of(b), m, k, n), -1.5);
      kernels(a).gemm(a, b, c, {.accumulate = true, .alpha = -1.5F});
      EXPECT_CLOSE(c, expected, bound(dtype));
      EXPECT_EQ(values_of(all.slice(1, 0, 4)), values_of(before));
      EXPECT_EQ(values_of(all.slice(1, 4 + n, n + 9)), values_of(after));
    }
  });
}

TEST_P(GemmTest, TakesViewsTransposedInMemory) {
  const DType dtype = GetParam();
  const Tensor a = random_tensor({33, 17}, dtype, 1).transpose(0, 1), b = random_tensor({9, 33}, dtype, 2);
  const Tensor c = Tensor::empty({17, 9}, dtype, tested_device());
  kernels(a).gemm(a, b, c, {.transpose_b = true});
  EXPECT_CLOSE(c, reference_product(values_of(a), reference_transpose(values_of(b), 9, 33), 17, 33, 9), bound(dtype));
}

TEST_P(GemmTest, MultipliesBatches) {
  const DType dtype = GetParam();
  on_every_stream([&] {
    const std::int64_t batch = 3, m = 17, n = 20, k = 33;
    const Tensor a = random_tensor({batch, m, k}, dtype, 1), b = random_tensor({batch, n, k}, dtype, 2);
    const Tensor c = random_tensor({batch, m, n + 2}, dtype, 3).slice(2, 1, n + 1);
    Values expected = values_of(c);
    for (std::int64_t i = 0; i < batch; ++i) {
      const Values part = reference_product(values_of(a.slice(0, i, i + 1)),
                                            reference_transpose(values_of(b.slice(0, i, i + 1)), n, k), m, k, n);
      for (std::size_t j = 0; j < part.size(); ++j) expected[i * part.size() + j] += part[j];
    }
    kernels(a).gemm(a, b, c, {.transpose_b = true, .accumulate = true});
    EXPECT_CLOSE(c, expected, bound(dtype));
  });
}

TEST_P(GemmTest, EmptyProducts) {
  const DType dtype = GetParam();
  const auto none = [&](std::int64_t m, std::int64_t n) { return Tensor::empty({m, n}, dtype, tested_device()); };
  kernels(tested_device()).gemm(none(0, 3), none(3, 5), none(0, 5));
  kernels(tested_device()).gemm(none(4, 3), none(3, 0), none(4, 0));
  const Tensor c = Tensor::full({2, 3}, dtype, 4.0, tested_device());
  kernels(tested_device()).gemm(none(2, 0), none(0, 3), c, {.accumulate = true});
  EXPECT_EQ(values_of(c), Values(6, 4.0));
  kernels(tested_device()).gemm(none(2, 0), none(0, 3), c);
  EXPECT_EQ(values_of(c), Values(6, 0.0));
}

TEST_P(GemmTest, SameBitsForAnyNumberOfThreads) {
  if (tested_device().kind() != DeviceKind::cpu) GTEST_SKIP() << "OpenMP's threads are the CPU's";
  const DType dtype = GetParam();
  const int before = omp_get_max_threads();
  for (const auto& [m, n, k] : {Case{16, 16, 4096}, {64, 32, 8192}, {1, 64, 3000}, {300, 200, 1000}, {576, 16, 128}}) {
    for (const bool transpose_a : {false, true}) {
      SCOPED_TRACE(fmt::format("{}x{}x{} {}", m, n, k, transpose_a));
      const Tensor a = random_tensor(transpose_a ? Shape{k, m} : Shape{m, k}, dtype, 1);
      const Tensor b = random_tensor({k, n}, dtype, 2);
      std::vector<Values> results;
      for (const int threads : {1, 2, 3}) {
        omp_set_num_threads(threads);
        const Tensor c = Tensor::full({m, n}, DType::f32, 1.0, tested_device());
        kernels(a).gemm(a, b, c, {.transpose_a = transpose_a, .accumulate = true});
        results.push_back(values_of(c));
      }
      EXPECT_EQ(results[0], results[1]);
      EXPECT_EQ(results[0], results[2]);
    }
  }
  omp_set_num_threads(before);
}

INSTANTIATE_TEST_SUITE_P(DTypes, GemmTest, ::testing::Values(DType::f32, DType::bf16),
                         [](const auto& info) { return std::string(name_of(info.param)); });

TEST(GemmErrors, NameThePrimitiveAndTheTensor) {
  Kernels& k = kernels(tested_device());
  const Tensor a = Tensor::zeros({3, 4}, DType::f32, tested_device()),
               b = Tensor::zeros({5, 6}, DType::f32, tested_device());
  const auto message = [](auto call) {
    try {
      call();
    } catch (const Error& error) {
      return error.message();
    }
    return std::string("no error");
  };
  EXPECT_THAT(message([&] {
                k.gemm(a, b, Tensor::zeros({3, 6}, DType::f32, tested_device()));
              }),
              ::testing::AllOf(::testing::HasSubstr("gemm"), ::testing::HasSubstr("[5, 6]")));
  EXPECT_THAT(message([&] {
                k.gemm(a, Tensor::zeros({4, 6}, DType::bf16, tested_device()),
                       Tensor::zeros({3, 6}, DType::f32, tested_device()));
              }),
              ::testing::HasSubstr("bf16"));
  EXPECT_THAT(message([&] {
                k.gemm(Tensor(), b, Tensor::zeros({3, 6}, DType::f32, tested_device()));
              }),
              ::testing::HasSubstr("a is undefined"));
  EXPECT_THAT(message([&] {
                k.gemm(a, Tensor::zeros({4, 6}, DType::i32, tested_device()),
                       Tensor::zeros({3, 6}, DType::f32, tested_device()));
              }),
              ::testing::HasSubstr("i32"));
}

}  // namespace
}  // namespace skymm::testing
