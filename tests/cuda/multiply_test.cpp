// The hand-written products, and those by cuBLASLt, against double precision: every size of tile, layout, alignment and
// epilogue.
#include "ops/kernels/cuda/multiply.hpp"

#include "core/error.hpp"
#include "ops/kernels/cuda/cublaslt.hpp"
#include "ops/reference/reference_matrix.hpp"

namespace skymm::testing {
namespace {

double bound(DType dtype) { return dtype == DType::bf16 ? 6e-3 : 2e-6; }

struct Case {
  std::int64_t m, n, k;
};
// Less than a tile, one more than a tile, several steps of k and a part of one.
constexpr Case cases[] = {{1, 1, 1}, {3, 5, 7}, {17, 33, 65}, {64, 64, 64}, {65, 131, 40}, {16, 129, 100}};

using Parameters = std::tuple<DType, cuda::TileSize>;
class CudaMultiplyTest : public ::testing::TestWithParam<Parameters> {
 protected:
  // c = epilogue(a b) by the kernel, where a and b lie in memory as they are or transposed, at an odd place or not.
  void multiply(const Tensor& a, const Tensor& b, const Tensor& c, const Epilogue& epilogue) const {
    cuda::multiply(matrix_of(a, "test", "a", true), matrix_of(b, "test", "b", true),
                   row_matrix_of(c, "test", "c", true), epilogue, current_stream(tested_device()), tiles_);
  }
  // [rows, columns], in memory transposed or not, aligned for vectors or not.
  Tensor operand(std::int64_t rows, std::int64_t columns, bool transposed, bool aligned, std::uint64_t seed) const {
    const std::int64_t inner = transposed ? rows : columns, outer = transposed ? columns : rows;
    const std::int64_t step = aligned ? (inner + 15) / 8 * 8 : inner + 3, begin = aligned ? 0 : 1;
    const Tensor x = random_tensor({outer, step}, dtype_, seed).slice(1, begin, begin + inner);
    return transposed ? x.transpose(0, 1) : x;
  }

  DType dtype_ = std::get<0>(GetParam());
  cuda::TileSize tiles_ = std::get<1>(GetParam());
};

TEST_P(CudaMultiplyTest, EqualsReferenceForEveryLayout) {
  for (const auto& [m, n, k] : cases) {
    for (int which = 0; which < 8; ++which) {
      const bool a_transposed = (which & 1) != 0, b_transposed = (which & 2) != 0, aligned = (which & 4) != 0;
      SCOPED_TRACE(fmt::format("{}x{}x{} {}", m, n, k, which));
      const Tensor a = operand(m, k, a_transposed, aligned, 1), b = operand(k, n, b_transposed, aligned, 2);
      const Values product = reference_product(values_of(a), values_of(b), m, k, n);
      const Tensor c = Tensor::full({m, n}, dtype_, 7.0, tested_device());
      multiply(a, b, c, {.alpha = 0.5F});
      EXPECT_CLOSE(c, reference_sum(Values(product.size()), product, 0.5), bound(dtype_));
      const Tensor all = random_tensor({m, n + 9}, DType::f32, 3), wide = all.slice(1, 4, 4 + n);
      const Values expected = reference_sum(values_of(wide), product, -1.5), left = values_of(all.slice(1, 0, 4)),
                   right = values_of(all.slice(1, 4 + n, n + 9));
      multiply(a, b, wide, {.alpha = -1.5F, .accumulate = true});
      EXPECT_CLOSE(wide, expected, 2e-6);
      EXPECT_EQ(values_of(all.slice(1, 0, 4)), left);
      EXPECT_EQ(values_of(all.slice(1, 4 + n, n + 9)), right);
    }
  }
}

TEST_P(CudaMultiplyTest, Epilogues) {
  constexpr Activation activations[] = {Activation::none, Activation::relu,      Activation::silu,
                                        Activation::gelu, Activation::gelu_tanh, Activation::quick_gelu};
  const std::int64_t m = 19, n = 66, k = 33;
  const Tensor a = operand(m, k, false, true, 1), b = operand(k, n, true, true, 2);
  const Values product = reference_product(values_of(a), values_of(b), m, k, n);
  for (const Activation activation : activations) {
    for (const DType type : {DType::f32, dtype_}) {
      SCOPED_TRACE(static_cast<int>(activation));
      const Tensor bias = random_tensor({n}, type, 3), c = Tensor::full({m, n}, dtype_, 9.0, tested_device());
      const Values of_bias = values_of(bias);
      Values expected = product;
      for (std::size_t i = 0; i < expected.size(); ++i) {
        expected[i] = reference_activation(activation, expected[i] + of_bias[i % of_bias.size()]);
      }
      multiply(a, b, c, epilogue_of(bias, activation, false));
      EXPECT_CLOSE(c, expected, bound(dtype_));
    }
  }
}

TEST_P(CudaMultiplyTest, BatchesAndEmptyProducts) {
  const std::int64_t batch = 3, m = 17, n = 20, k = 33;
  const Tensor a = random_tensor({batch, m, k}, dtype_, 1), b = random_tensor({batch, n, k}, dtype_, 2);
  const Tensor c = random_tensor({batch, m, n + 2}, dtype_, 3).slice(2, 1, n + 1);
  Values expected;
  for (std::int64_t i = 0; i < batch; ++i) {
    const Values part = reference_product(values_of(a.slice(0, i, i + 1)),
                                          reference_transpose(values_of(b.slice(0, i, i + 1)), n, k), m, k, n);
    expected.insert(expected.end(), part.begin(), part.end());
  }
  multiply(a, b.transpose(1, 2), c, {});
  EXPECT_CLOSE(c, expected, bound(dtype_));

  const auto none = [&](std::int64_t rows, std::int64_t columns) {
    return Tensor::empty({rows, columns}, dtype_, tested_device());
  };
  multiply(none(0, 3), none(3, 5), none(0, 5), {});
  const Tensor filled = Tensor::full({2, 3}, dtype_, 4.0, tested_device());
  multiply(none(2, 0), none(0, 3), filled, {.accumulate = true});
  EXPECT_EQ(values_of(filled), Values(6, 4.0));
  multiply(none(2, 0), none(0, 3), filled, {});
  EXPECT_EQ(values_of(filled), Values(6, 0.0));
}

std::string name_of_parameters(const ::testing::TestParamInfo<Parameters>& info) {
  constexpr const char* sizes[] = {"automatic", "flat", "small", "large"};
  const auto [dtype, tiles] = info.param;
  return fmt::format("{}_{}", name_of(dtype), sizes[static_cast<int>(tiles)]);
}

INSTANTIATE_TEST_SUITE_P(All, CudaMultiplyTest,
                         ::testing::Combine(::testing::Values(DType::f32, DType::bf16),
                                            ::testing::Values(cuda::TileSize::flat, cuda::TileSize::small,
                                                              cuda::TileSize::large)),
                         name_of_parameters);

// As large as cuBLASLt takes them: by the library itself on a GPU, or by its emulation, which takes all.
constexpr Case large_cases[] = {{144, 80, 96}, {131, 127, 67}, {16, 512, 131}};

class CudaLibraryTest : public ::testing::TestWithParam<DType> {
 protected:
  void multiply(const Tensor& a, const Tensor& b, const Tensor& c, const Epilogue& epilogue, bool taken = true) const {
    const Matrix left = matrix_of(a, "test", "a", true), right = matrix_of(b, "test", "b", true),
                 result = row_matrix_of(c, "test", "c", true);
    Stream& stream = current_stream(tested_device());
    const bool did = cuda::multiply_by_library(left, right, result, epilogue, stream);
    if (tested_device().is_emulated()) {
      EXPECT_EQ(did, taken);
    }
    if (!did) cuda::multiply(left, right, result, epilogue, stream);  // as the library was asked first
  }
  // [batch, rows, columns] or [rows, columns], in memory transposed or not, `gap` elements between its rows.
  Tensor operand(Shape shape, bool transposed, std::int64_t gap, std::uint64_t seed) const {
    const int last = shape.rank() - 1;
    if (transposed) std::swap(shape[last - 1], shape[last]);
    const std::int64_t width = shape[last];
    shape[last] += gap;
    const Tensor x = random_tensor(shape, dtype_, seed).slice(last, gap / 2, gap / 2 + width);
    return transposed ? x.transpose(last - 1, last) : x;
  }

  DType dtype_ = GetParam();
};

TEST_P(CudaLibraryTest, EqualsReferenceForEveryLayout) {
  for (const auto& [m, n, k] : large_cases) {
    for (int which = 0; which < 8; ++which) {
      const bool a_transposed = (which & 1) != 0, b_transposed = (which & 2) != 0;
      const std::int64_t gap = (which & 4) != 0 ? 3 : 0;
      SCOPED_TRACE(fmt::format("{}x{}x{} {}", m, n, k, which));
      const Tensor a = operand({m, k}, a_transposed, gap, 1), b = operand({k, n}, b_transposed, gap, 2);
      const Values product = reference_product(values_of(a), values_of(b), m, k, n);
      const Tensor c = Tensor::full({m, n}, dtype_, 7.0, tested_device());
      multiply(a, b, c, {.alpha = 0.5F});
      EXPECT_CLOSE(c, reference_sum(Values(product.size()), product, 0.5), bound(dtype_));
      const Tensor all = random_tensor({m, n + 9}, DType::f32, 3), wide = all.slice(1, 4, 4 + n);
      const Values expected = reference_sum(values_of(wide), product, -1.5), left = values_of(all.slice(1, 0, 4)),
                   right = values_of(all.slice(1, 4 + n, n + 9));
      multiply(a, b, wide, {.alpha = -1.5F, .accumulate = true});
      EXPECT_CLOSE(wide, expected, 2e-6);
      EXPECT_EQ(values_of(all.slice(1, 0, 4)), left);
      EXPECT_EQ(values_of(all.slice(1, 4 + n, n + 9)), right);
    }
  }
}

TEST_P(CudaLibraryTest, Batches) {
  const std::int64_t batch = 3, m = 96, n = 129, k = 100;
  for (int which = 0; which < 4; ++which) {
    SCOPED_TRACE(which);
    const Tensor a = operand({batch, m, k}, (which & 1) != 0, 2, 1), b = operand({batch, k, n}, (which & 2) != 0, 0, 2);
    const Tensor c = random_tensor({batch, m, n + 2}, dtype_, 3).slice(2, 1, n + 1);
    Values expected;
    for (std::int64_t i = 0; i < batch; ++i) {
      const Values part = reference_product(values_of(a.slice(0, i, i + 1)), values_of(b.slice(0, i, i + 1)), m, k, n);
      expected.insert(expected.end(), part.begin(), part.end());
    }
    multiply(a, b, c, {});
    EXPECT_CLOSE(c, expected, bound(dtype_));
  }
}

TEST_P(CudaLibraryTest, Epilogues) {
  const std::int64_t m = 144, n = 83, k = 96;  // that bias belongs to columns shows where there are fewer than rows
  const Tensor a = operand({m, k}, false, 0, 1), b = operand({k, n}, true, 0, 2);
  const Tensor biases = random_tensor({n + 1}, dtype_, 3);
  const Values product = reference_product(values_of(a), values_of(b), m, k, n);
  for (const Activation activation : {Activation::none, Activation::relu, Activation::gelu_tanh, Activation::silu}) {
    for (const int begin : {-1, 0, 1}) {  // no bias; one where vectors may be read; one an element behind
      SCOPED_TRACE(fmt::format("activation {}, bias from {}", static_cast<int>(activation), begin));
      const Tensor bias = begin < 0 ? Tensor() : biases.slice(0, begin, begin + n);
      const Tensor c = Tensor::full({m, n}, dtype_, 9.0, tested_device());
      const Values of_bias = begin < 0 ? Values(n) : values_of(bias);
      Values expected = product;
      for (std::size_t i = 0; i < expected.size(); ++i) {
        expected[i] = reference_activation(activation, expected[i] + of_bias[i % of_bias.size()]);
      }
      const bool named = activation == Activation::none || activation == Activation::relu ||
                         (activation == Activation::gelu_tanh && dtype_ == DType::bf16);
      multiply(a, b, c, epilogue_of(bias, activation, false), named && begin != 1);
      EXPECT_CLOSE(c, expected, bound(dtype_));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, CudaLibraryTest, ::testing::Values(DType::f32, DType::bf16),
                         [](const auto& info) { return std::string(name_of(info.param)); });

TEST(CudaLibraryRequests, WhatIsNotAskedFor) {
  float numbers[4]{};
  const auto matrix = [&](std::int64_t rows, std::int64_t cols) {
    return Matrix{.data = numbers, .rows = rows, .cols = cols, .row_step = cols};
  };
  const auto asked = [&](std::int64_t m, std::int64_t n, std::int64_t k, const Epilogue& epilogue = {}) {
    return cuda::cublaslt::request_for(matrix(m, k), matrix(k, n), matrix(m, n), epilogue).has_value();
  };
  EXPECT_TRUE(asked(1024, 64, 16));
  EXPECT_FALSE(asked(1024, 64, 15));
  EXPECT_FALSE(asked(1024, 63, 16));  // less than 2^20 products of two numbers
  EXPECT_FALSE(asked(1024, 64, 16, {.bias = numbers, .bias_dtype = DType::bf16}));
  Matrix one_row = matrix(1024, 64);
  one_row.row_step = 0;  // for all
  EXPECT_FALSE(cuda::cublaslt::request_for(one_row, matrix(64, 64), matrix(1024, 64), {}));
}

TEST(CudaLibraryRequests, AnAlgorithmIsSearchedOnceAProblem) {
  alignas(256) float numbers[128]{};
  const auto request = [&](int begin, std::int64_t n, bool accumulate) {
    const Matrix a{.data = numbers + begin, .rows = 1024, .cols = 64, .row_step = 64};
    const Matrix b{.data = numbers, .rows = 64, .cols = n, .row_step = n};
    const Matrix c{.data = numbers, .rows = 1024, .cols = n, .row_step = n};
    return *cuda::cublaslt::request_for(a, b, c, {.accumulate = accumulate});
  };
  cuda::cublaslt::Algorithms<int> algorithms;
  int searches = 0;
  const auto find = [&](const cuda::cublaslt::Request& of) {
    return algorithms.find(of, [&] { return std::optional(++searches); });
  };
  EXPECT_EQ(find(request(0, 64, false)), 1);
  EXPECT_EQ(find(request(64, 64, false)), 1);  // as aligned
  EXPECT_EQ(find(request(1, 64, false)), 2);
  EXPECT_EQ(find(request(0, 65, false)), 3);
  EXPECT_EQ(find(request(0, 64, true)), 4);
  algorithms.give_up(request(0, 65, false));
  EXPECT_EQ(find(request(0, 65, false)), std::nullopt);
  EXPECT_EQ(find(request(0, 64, false)), 1);
}

TEST(CudaMultiplyErrors, TensorsOfTwoDevices) {
  const Tensor x = Tensor::full({3, 4}, DType::f32, 1.0, tested_device()), y = x.empty_like(),
               on_cpu = Tensor::zeros({4, 4}, DType::f32);
  EXPECT_THROW(kernels(x).gemm(x, on_cpu, y), Error);
  const LinearWeightPtr weight = kernels(cpu()).make_linear_weight(on_cpu, Packing::none);
  EXPECT_THROW(kernels(x).linear(x, *weight, Tensor(), Activation::none, y), Error);
}

}  // namespace
}  // namespace skymm::testing
