#include "ops/reference/reference_rows.hpp"
#include "ops/reference/settings.hpp"

namespace skymm::testing {
namespace {

constexpr double inf = std::numeric_limits<double>::infinity();

// Every fourth row has no label.
std::vector<std::int32_t> some_labels(std::int64_t rows, std::int64_t classes) {
  std::vector<std::int32_t> labels;
  for (std::int64_t t = 0; t < rows; ++t)
    labels.push_back(t % 4 == 3 ? -100 : static_cast<std::int32_t>(t * 5 % classes));
  return labels;
}

TEST(LossReference, GradientsAreThoseOfTheForwardPass) {
  constexpr std::int64_t rows = 4, d = 5;
  const Values x = values_of(random_tensor({rows * d}, DType::f32, 1)),
               dy = values_of(random_tensor({rows * d}, DType::f32, 2));
  const auto softmax = [](const Values& v) { return reference_softmax(v, d); };
  EXPECT_LE(relative_error(reference_softmax_gradient(softmax(x), dy, d), finite_difference_gradient(softmax, x, dy)),
            1e-8);
  const std::vector<std::int32_t> labels = some_labels(rows, d);
  const auto loss = [&](const Values& v) { return reference_cross_entropy(v, labels, d); };
  EXPECT_LE(relative_error(reference_cross_entropy_gradient(x, labels, 0.3, d),
                           finite_difference_gradient(loss, x, Values(rows, 0.3))),
            1e-8);
}

TEST(Loss, Softmax) {
  for_every_setting([](Setting& s) {
    const Tensor x = s.input(1, 4.0), dy = s.input(2), y = s.output(), dx = s.output();
    kernels(x).softmax(x, y);
    EXPECT_CLOSE(y, reference_softmax(values_of(x), s.width), tolerance(s.dtype));
    kernels(x).softmax_gradient(y, dy, dx);
    expect_close(dx, reference_softmax_gradient(values_of(y), values_of(dy), s.width), tolerance(s.dtype),
                 norm_of(values_of(y)));
    const Tensor in_place = s.output_like(x);
    kernels(x).softmax(in_place, in_place);
    EXPECT_EQ(values_of(in_place), values_of(y));
  });
}

TEST(Loss, CrossEntropy) {
  for_every_setting([](Setting& s) {
    const std::vector<std::int32_t> labels = some_labels(s.rows, s.width);
    const Tensor x = s.input(1, 4.0), at = s.ints(labels), losses = s.column(), total = s.column(), dx = s.output();
    Kernels& k = kernels(x);
    k.cross_entropy(x, at, losses, total);
    k.cross_entropy_gradient(x, at, total, 0.3F, dx);
    const Values values = values_of(x);
    expect_close(losses, reference_cross_entropy(values, labels, s.width), 2e-6, norm_of(values_of(total)));
    EXPECT_CLOSE(
        total,
        by_rows(values, s.width, [](const Values& row, std::size_t) { return Values{reference_logsumexp(row)}; }),
        2e-6);
    expect_close(dx, reference_cross_entropy_gradient(values, labels, 0.3, s.width), tolerance(s.dtype), 0.3);
    const Tensor in_place = s.output_like(x);
    k.cross_entropy_gradient(in_place, at, total, 0.3F, in_place);
    EXPECT_EQ(values_of(in_place), values_of(dx));
  });
}

TEST(Loss, CrossEntropyOfAWholeVocabulary) {
  on_every_stream([] {
    constexpr std::int64_t rows = 3, classes = 49152;
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const Tensor x = random_tensor({rows, classes}, dtype, 1, 5.0), dx = x.empty_like();
      const std::vector<std::int32_t> labels = {49151, 0, 7};
      const Tensor at = Tensor::from(labels, {rows}, tested_device()),
                   losses = Tensor::empty({rows}, DType::f32, tested_device()), total = losses.empty_like();
      kernels(x).cross_entropy(x, at, losses, total);
      kernels(x).cross_entropy_gradient(x, at, total, 1.0F, dx);
      EXPECT_CLOSE(losses, reference_cross_entropy(values_of(x), labels, classes), 2e-6);
      EXPECT_CLOSE(dx, reference_cross_entropy_gradient(values_of(x), labels, 1.0, classes), tolerance(dtype));
    }
  });
}

TEST(Loss, CrossEntropyOfExtremeLogits) {
  // a maximum that comes late, one that dwarfs all, columns that are switched off, and all of them equal
  Values logits(4 * 5000, -1e4);
  logits[4999] = 1e4;
  logits[5000 + 17] = 3e38;
  for (std::size_t j = 0; j < 5000; ++j) logits[10000 + j] = j % 2 ? -inf : 0;
  const std::vector<std::int32_t> labels = {4999, 17, 2, 3};
  const Tensor x = tensor_of(logits, {4, 5000}, DType::f32), at = Tensor::from(labels, {4}, tested_device()),
               dx = x.empty_like();
  const Tensor losses = Tensor::empty({4}, DType::f32, tested_device()), total = losses.empty_like();
  kernels(x).cross_entropy(x, at, losses, total);
  kernels(x).cross_entropy_gradient(x, at, total, 1.0F, dx);
  const Values loss = values_of(losses), gradient = values_of(dx);
  EXPECT_EQ(loss[0], 0);
  EXPECT_EQ(loss[1], 0);
  EXPECT_NEAR(loss[2], std::log(2500), 1e-5);
  EXPECT_NEAR(loss[3], std::log(5000), 1e-5);
  EXPECT_EQ(gradient[4999], 0);
  EXPECT_EQ(gradient[5017], 0);
  EXPECT_NEAR(gradient[10002], 1 / 2500.0 - 1, 1e-6);
  EXPECT_EQ(gradient[10003], 0);

  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const double bad : {inf, nan, -nan}) {
    for (const std::size_t place : {0, 16, 4999}) {  // in any part of a row a non-finite logit reaches the loss
      Values row(5000, 1.0);
      std::fill_n(row.begin(), 3000, -inf);
      row[place] = bad;
      const Tensor y = tensor_of(row, {1, 5000}, DType::f32), label = Tensor::zeros({1}, DType::i32, tested_device());
      const Tensor one = Tensor::empty({1}, DType::f32, tested_device()), sum = one.empty_like();
      kernels(y).cross_entropy(y, label, one, sum);
      EXPECT_FALSE(std::isfinite(one.item())) << bad << " at " << place;
    }
  }
}

TEST(Loss, LabelsOutOfRangeAreNamed) {
  const Tensor x = Tensor::zeros({2, 3}, DType::f32, tested_device()),
               one = Tensor::zeros({2}, DType::f32, tested_device());
  const Tensor labels = Tensor::from(std::vector<std::int32_t>{0, 3}, {2}, tested_device());
  if (tested_device().kind() == DeviceKind::cpu) {
    EXPECT_THAT(
        [&] { kernels(x).cross_entropy(x, labels, one, one); },
        ::testing::ThrowsMessage<Error>(::testing::HasSubstr("cross_entropy: labels[1] = 3, but there are 3 logits")));
  } else {  // a kernel cannot throw
    const Tensor losses = one.empty_like();
    kernels(x).cross_entropy(x, labels, losses, one);
    EXPECT_TRUE(std::isfinite(losses.to_vector()[0]));
    EXPECT_TRUE(std::isnan(losses.to_vector()[1]));
  }
  EXPECT_THAT([&] { kernels(x).cross_entropy(x, one, one, one); },
              ::testing::ThrowsMessage<Error>(::testing::HasSubstr("cross_entropy: labels is f32 instead of i32")));
}

TEST(Loss, ArgmaxIsTheFirstOfTheLargest) {
  for_every_setting([](Setting& s) {
    const Tensor x = s.input(1), best = s.ints(std::vector<std::int32_t>(static_cast<std::size_t>(s.rows), -1));
    kernels(x).argmax(x, best);
    EXPECT_EQ(values_of(best), by_rows(values_of(x), s.width, [](const Values& row, std::size_t) {
                return Values{static_cast<double>(std::max_element(row.begin(), row.end()) - row.begin())};
              }));
  });
  Values rows(4 * 100, -1.0);
  rows[30] = rows[31] = rows[99] = 2;  // equals
  for (std::size_t j = 200; j < 300; ++j) rows[j] = -inf;
  rows[377] = std::numeric_limits<double>::quiet_NaN();
  const Tensor x = tensor_of(rows, {4, 100}, DType::f32), best = Tensor::zeros({4}, DType::i32, tested_device());
  kernels(x).argmax(x, best);
  EXPECT_EQ(values_of(best), (Values{30, 0, 0, 77}));
}

TEST(Loss, SameBitsForAnyNumberOfThreads) {
  if (tested_device().kind() != DeviceKind::cpu) GTEST_SKIP() << "OpenMP's threads are the CPU's";
  expect_same_for_any_threads([](Setting& s) -> std::vector<Tensor> {
    const Tensor x = s.input(1), y = s.output(), dx = s.output(), losses = s.column(), total = s.column();
    const Tensor labels = s.ints(some_labels(s.rows, s.width));
    kernels(x).softmax(x, y);
    kernels(x).cross_entropy(x, labels, losses, total);
    kernels(x).cross_entropy_gradient(x, labels, total, 1.0F, dx);
    return {y, losses, total, dx};
  });
}

}  // namespace
}  // namespace skymm::testing
