#include "ops/reference/reference_rows.hpp"
#include "ops/reference/settings.hpp"

namespace skymm::testing {
namespace {

constexpr std::int32_t table_rows = 11;

// Rows of a table of 11, some left out, many met more than once.
std::vector<std::int32_t> some_rows(std::int64_t n) {
  std::vector<std::int32_t> rows;
  for (std::int64_t i = 0; i < n; ++i) rows.push_back(static_cast<std::int32_t>(i * 7 % (table_rows + 1)) - 1);
  return rows;
}

TEST(Rows, Gather) {
  for_every_setting([](Setting& s) {
    const std::vector<std::int32_t> rows = some_rows(s.rows);
    const Tensor table = s.input(table_rows, s.width, s.dtype, 1), y = s.output();
    kernels(y).gather_rows(table, s.ints(rows), y);
    Values expected;
    for (const std::int32_t row : rows) {
      const Values one = row < 0 ? Values(s.width) : row_of(values_of(table), row, s.width);
      expected.insert(expected.end(), one.begin(), one.end());
    }
    EXPECT_EQ(values_of(y), expected);
  });
}

TEST(Rows, ScatterLeavesOtherRowsAlone) {
  for_every_setting([](Setting& s) {
    std::vector<std::int32_t> rows;  // distinct: the odd rows of y backwards, every third left out
    for (std::int64_t i = 0; i < s.rows; ++i) {
      rows.push_back(i % 3 == 2 ? -1 : static_cast<std::int32_t>(2 * (s.rows - 1 - i) + 1));
    }
    const Tensor x = s.input(1), before = s.input(2 * s.rows, s.width, s.dtype, 2), y = s.output_like(before);
    kernels(x).scatter_rows(x, s.ints(rows), y);
    Values expected = values_of(before);
    const Values from = values_of(x);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (rows[i] < 0) continue;
      std::copy_n(from.begin() + i * s.width, s.width, expected.begin() + rows[i] * s.width);
    }
    EXPECT_EQ(values_of(y), expected);
  });
}

void expect_scatter_add(Setting& s) {
  const std::vector<std::int32_t> rows = some_rows(s.rows);
  const Tensor x = s.input(1), before = s.input(table_rows, s.width, DType::f32, 2), y = s.output_like(before);
  kernels(x).scatter_add_rows(x, s.ints(rows), y);
  Values expected = values_of(before);
  const Values from = values_of(x);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (std::int64_t j = 0; j < s.width && rows[i] >= 0; ++j) {
      expected[rows[i] * s.width + j] += from[i * s.width + j];
    }
  }
  EXPECT_CLOSE(y, expected, 2e-6);
}

TEST(Rows, ScatterAdd) { for_every_setting(expect_scatter_add); }

TEST(Rows, ScatterAddOfMoreRowsThanABlockHasThreads) {
  Setting setting(tested_device(), 300, 3, DType::f32, false);
  expect_scatter_add(setting);
}

TEST(Rows, Patches) {
  struct {
    std::int64_t images, channels, height, width, patch;
  } constexpr cases[] = {{1, 1, 1, 1, 1}, {2, 3, 6, 9, 3}, {1, 3, 28, 14, 14}, {3, 2, 8, 4, 2}, {0, 3, 4, 4, 2}};
  on_every_stream([&] {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      for (const auto& [images, channels, height, width, patch] : cases) {
        const Tensor pixels = random_tensor({images, channels, height + 1, width + 2}, dtype, 1)
                                  .slice(2, 1, 1 + height)
                                  .slice(3, 1, 1 + width);
        const std::int64_t down = height / patch, across = width / patch;
        const Tensor y = Tensor::empty({images * down * across, channels * patch * patch}, dtype, tested_device());
        kernels(y).extract_patches(pixels, patch, y);
        const Values from = values_of(pixels);
        Values expected;
        for (std::int64_t i = 0; i < y.dim(0); ++i) {
          for (std::int64_t j = 0; j < y.dim(1); ++j) {
            const std::int64_t image = i / (down * across), channel = j / (patch * patch);
            const std::int64_t row = i / across % down * patch + j / patch % patch,
                               column = i % across * patch + j % patch;
            expected.push_back(from[((image * channels + channel) * height + row) * width + column]);
          }
        }
        EXPECT_EQ(values_of(y), expected);
      }
    }
  });
}

TEST(Rows, PatchEmbedding) {
  constexpr std::int64_t images = 2, height = 56, width = 28, patch = 14, out = 24;
  on_every_stream([&] {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      for (const bool with_bias : {false, true}) {
        SCOPED_TRACE(fmt::format("{}, bias {}", name_of(dtype), with_bias));
        const Tensor pixels = random_tensor({images, 3, height, width}, dtype, 1);
        const Tensor weight = random_tensor({out, 3 * patch * patch}, dtype, 2, 0.1);
        const Tensor bias = with_bias ? random_tensor({out}, dtype, 3) : Tensor();
        const std::int64_t rows = images * (height / patch) * (width / patch), depth = weight.dim(1);
        const Tensor y = Tensor::empty({rows, out}, dtype, tested_device());
        const Tensor patches = Tensor::empty({rows, depth}, dtype, tested_device());
        Kernels& k = kernels(y);
        k.patch_embedding(pixels, patch, *k.make_linear_weight(weight, Packing::none), bias, y);
        k.extract_patches(pixels, patch, patches);
        const Values x = values_of(patches), w = values_of(weight);
        Values expected = with_bias ? values_of(bias) : Values(out);
        for (std::int64_t row = 1; row < rows; ++row)
          expected.insert(expected.end(), expected.begin(), expected.begin() + out);
        for (std::int64_t i = 0; i < rows * out; ++i) {
          for (std::int64_t j = 0; j < depth; ++j) expected[i] += x[i / out * depth + j] * w[i % out * depth + j];
        }
        EXPECT_CLOSE(y, expected, tolerance(dtype));
      }
    }
  });
}

TEST(Rows, SameBitsForAnyNumberOfThreads) {
  if (tested_device().kind() != DeviceKind::cpu) GTEST_SKIP() << "OpenMP's threads are the CPU's";
  expect_same_for_any_threads([](Setting& s) -> std::vector<Tensor> {
    const Tensor x = s.input(1), y = Tensor::zeros({table_rows, s.width}, DType::f32, tested_device());
    kernels(x).scatter_add_rows(x, s.ints(some_rows(s.rows)), y);
    return {y};
  });
}

TEST(RowsErrors, SayWhichIndexIsOutOfRange) {
  const Tensor x = Tensor::zeros({4, 6}, DType::f32, tested_device()),
               y = Tensor::zeros({2, 6}, DType::f32, tested_device());
  const Tensor rows = Tensor::from(std::vector<std::int32_t>{1, 4}, {2}, tested_device());
  if (tested_device().kind() == DeviceKind::cpu) {
    EXPECT_THAT(
        [&] { kernels(x).gather_rows(x, rows, y); },
        ::testing::ThrowsMessage<Error>(::testing::HasSubstr("gather_rows: rows[1] = 4, but there are 4 rows")));
    EXPECT_THAT([&] { kernels(x).scatter_add_rows(y, rows, x); },
                ::testing::ThrowsMessage<Error>(::testing::HasSubstr("scatter_add_rows: rows[1] = 4")));
  } else {  // a kernel cannot throw
    kernels(x).gather_rows(x, rows, y);
    EXPECT_EQ(values_of(y.slice(0, 0, 1)), Values(6, 0.0));
    EXPECT_THAT(values_of(y.slice(0, 1, 2)), ::testing::Each(::testing::IsNan()));
    const Tensor ones = Tensor::full({2, 6}, DType::f32, 1, tested_device());
    kernels(x).scatter_add_rows(ones, rows, x);
    Values expected(24, 0.0);
    std::fill_n(expected.begin() + 6, 6, 1.0);
    EXPECT_EQ(values_of(x), expected);
  }
  EXPECT_THAT([&] { kernels(x).gather_rows(x, Tensor::zeros({3}, DType::i32, tested_device()), y); },
              ::testing::ThrowsMessage<Error>(::testing::HasSubstr("gather_rows: rows [3] must have 2 elements")));
  const Tensor pixels = Tensor::zeros({1, 3, 5, 4}, DType::f32, tested_device());
  EXPECT_THAT([&] { kernels(x).extract_patches(pixels, 2, x); },
              ::testing::ThrowsMessage<Error>(::testing::HasSubstr("extract_patches: pixels must have sides")));
  const LinearWeightPtr weight = kernels(x).make_linear_weight(x, Packing::none);
  EXPECT_THAT([&] { kernels(x).patch_embedding(pixels, 1, *weight, {}, y); },
              ::testing::ThrowsMessage<Error>(::testing::HasSubstr("patch_embedding: pixels must be as the weight's")));
}

}  // namespace
}  // namespace skymm::testing
