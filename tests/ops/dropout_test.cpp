#include "ops/reference/reference_rows.hpp"
#include "ops/reference/settings.hpp"

namespace skymm::testing {
namespace {

const RandomKey key{.seed = 0x123456789abcdef0U, .step = 77, .operation = 5};

struct RowId {
  std::int32_t position, token;
};

std::vector<RowId> some_ids(std::int64_t rows) {
  std::vector<RowId> ids;
  for (std::int64_t t = 0; t < rows; ++t) {
    ids.push_back({static_cast<std::int32_t>(t % 3 + 100), static_cast<std::int32_t>(t * 31 % 1000)});
  }
  if (rows > 2) ids[2].token = 2'147'483'647;  // the count of elements wraps at 2^32
  return ids;
}

Tensor tensor_of_ids(const Setting& s, const std::vector<RowId>& ids) {
  std::vector<std::int32_t> flat;
  for (const auto& [position, token] : ids) flat.insert(flat.end(), {position, token});
  return s.ints(flat).view({static_cast<std::int64_t>(ids.size()), 2});
}

// The definition, word by word.
Values reference_dropout(const Values& x, double p, const std::vector<RowId>& ids, std::int64_t d) {
  return by_rows(x, d, [&](Values row, std::size_t t) {
    for (std::int64_t j = 0; j < d; ++j) {
      const auto element =
          static_cast<std::uint32_t>(ids[t].token) * static_cast<std::uint32_t>(d) + static_cast<std::uint32_t>(j);
      const auto word = random_word(key, static_cast<std::uint32_t>(ids[t].position), element);
      row[j] = uniform(word) >= static_cast<float>(p) ? row[j] / (1 - p) : 0;
    }
    return row;
  });
}

TEST(Dropout, IsTheDefinitionWordByWord) {
  for_every_setting([](Setting& s) {
    for (const double p : {0.0, 0.05, 0.5, 0.9}) {
      const std::vector<RowId> ids = some_ids(s.rows);
      const Tensor x = s.input(1), y = s.output();
      kernels(x).dropout(x, static_cast<float>(p), key, tensor_of_ids(s, ids), y);
      const Values expected = reference_dropout(values_of(x), p, ids, s.width), actual = values_of(y);
      EXPECT_LE(relative_error(actual, expected), tolerance(s.dtype));
      std::int64_t differ = 0;
      for (std::size_t i = 0; i < expected.size(); ++i) differ += (expected[i] == 0) != (actual[i] == 0);
      EXPECT_EQ(differ, 0);
    }
  });
}

TEST(Dropout, DoesNotDependOnHowRowsAreBatched) {
  const Setting s(tested_device(), 33, 65, DType::f32, false);
  const std::vector<RowId> ids = some_ids(s.rows);
  const Tensor x = s.input(1), whole = x.empty_like(), one = Tensor::empty({1, s.width}, DType::f32, tested_device());
  kernels(x).dropout(x, 0.3F, key, tensor_of_ids(s, ids), whole);
  for (std::int64_t t = 0; t < s.rows; ++t) {
    kernels(x).dropout(x.slice(0, t, t + 1), 0.3F, key, tensor_of_ids(s, {ids[t]}), one);
    EXPECT_EQ(values_of(one), values_of(whole.slice(0, t, t + 1)));
  }
}

TEST(Dropout, KeepsTheExpectedShare) {
  const Setting s(tested_device(), 100, 1000, DType::f32, false);
  const Tensor x = Tensor::full({s.rows, s.width}, DType::f32, 1.0, tested_device()), y = x.empty_like();
  std::vector<RowId> ids;
  for (std::int32_t t = 0; t < 100; ++t) ids.push_back({0, t});
  kernels(x).dropout(x, 0.25F, key, tensor_of_ids(s, ids), y);
  double kept = 0;
  for (const double v : values_of(y)) kept += v != 0;
  EXPECT_NEAR(kept / 1e5, 0.75, 0.006);  // four deviations
}

TEST(Dropout, SameBitsForAnyNumberOfThreads) {
  if (tested_device().kind() != DeviceKind::cpu) GTEST_SKIP() << "OpenMP's threads are the CPU's";
  expect_same_for_any_threads([](Setting& s) -> std::vector<Tensor> {
    const Tensor x = s.input(1), y = s.output();
    kernels(x).dropout(x, 0.1F, key, tensor_of_ids(s, some_ids(s.rows)), y);
    return {y};
  });
}

TEST(DropoutErrors, SayWhatDoesNotFit) {
  const Tensor x = Tensor::zeros({4, 6}, DType::f32, tested_device()),
               ids = Tensor::zeros({4, 2}, DType::i32, tested_device());
  EXPECT_THAT([&] { kernels(x).dropout(x, 1.0F, key, ids, x); },
              ::testing::ThrowsMessage<Error>(::testing::HasSubstr("dropout: p is 1")));
  EXPECT_THAT([&] { kernels(x).dropout(x, 0.5F, key, Tensor::zeros({4}, DType::i32, tested_device()), x); },
              ::testing::ThrowsMessage<Error>(::testing::HasSubstr("dropout: row_ids [4] must have 8 elements")));
}

}  // namespace
}  // namespace skymm::testing
