#include <numeric>
#include <utility>

#include "ops/reference/reference_rows.hpp"
#include "ops/reference/settings.hpp"

namespace skymm::testing {
namespace {

constexpr double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();

TEST(Reductions, SumAndSumOfSquares) {
  for_every_setting([](Setting& s) {
    const Tensor x = s.input(1), sum = Tensor::full({1}, DType::f64, nan, s.device), squares = sum.clone();
    kernels(x).sum(x, sum);
    kernels(x).sum_of_squares(x, squares);
    const Values values = values_of(x);
    const double size = dot(values, values);
    EXPECT_NEAR(sum.item(), std::accumulate(values.begin(), values.end(), 0.0), 1e-12 * size + 1e-12);
    EXPECT_NEAR(squares.item(), size, 1e-13 * size);
  });
}

TEST(Reductions, WholeBlocksOfASumAreTheSameInAnyShard) {
  const Tensor x = random_tensor({129 * 4096 + 100}, DType::f32, 1);  // more blocks than CUDA adds up at a time
  const auto squares = [](const Tensor& part) {
    const Tensor out = Tensor::empty({1}, DType::f64, tested_device());
    kernels(part).sum_of_squares(part, out);
    return out.item();
  };
  double sum = 0;
  for (std::int64_t begin = 0; begin < x.dim(0); begin += 4096) {
    sum += squares(x.slice(0, begin, std::min(x.dim(0), begin + 4096)));
  }
  EXPECT_EQ(squares(x), sum);
}

TEST(Reductions, SumsOfSquaresOfAListAreThoseOfEach) {
  on_every_stream([] {
    std::vector<Tensor> xs, outs, alone;
    std::uint64_t seed = 1;
    for (const std::int64_t n : {0, 1, 4096, 4097, 0, 17, 130 * 4096 + 5, 0}) {
      xs.push_back(random_tensor({n}, DType::f32, ++seed));
      alone.push_back(Tensor::full({1}, DType::f64, nan, tested_device()));
      kernels(xs.back()).sum_of_squares(xs.back(), alone.back());
    }
    xs.push_back(random_tensor({70, 90}, DType::f32, 20).slice(1, 3, 80));  // rows with gaps
    alone.push_back(Tensor::full({1}, DType::f64, nan, tested_device()));
    kernels(xs.back()).sum_of_squares(xs.back(), alone.back());
    const Tensor all = Tensor::full({static_cast<std::int64_t>(xs.size())}, DType::f64, nan, tested_device());
    for (std::int64_t i = 0; i < all.numel(); ++i) outs.push_back(all.slice(0, i, i + 1));
    std::swap(outs[0], outs[3]);  // in any order
    std::swap(alone[0], alone[3]);
    kernels(all).sum_of_squares(xs, outs);
    for (std::size_t i = 0; i < alone.size(); ++i) {
      EXPECT_EQ(values_of(all)[i], alone[i].item()) << i;
    }
    EXPECT_EQ(values_of(all)[4], 0);
    kernels(all).sum_of_squares(std::span<const Tensor>(), {});
  });
}

TEST(Reductions, ListsThatDoNotFitAreRefused) {
  const std::vector<Tensor> xs(2, Tensor::zeros({4}, DType::f32, tested_device()));
  const std::vector<Tensor> out{Tensor::zeros({1}, DType::f64, tested_device())};
  EXPECT_THAT([&] { kernels(xs[0]).sum_of_squares(xs, out); },
              ::testing::ThrowsMessage<Error>(::testing::HasSubstr("2 tensors have 1 places")));
  const std::vector<Tensor> mixed{xs[0], Tensor::zeros({4}, DType::bf16, tested_device())}, outs{out[0], out[0]};
  EXPECT_THAT([&] { kernels(xs[0]).sum_of_squares(mixed, outs); },
              ::testing::ThrowsMessage<Error>(::testing::HasSubstr("have the dtype of the others")));
}

TEST(Reductions, CountNonFinite) {
  for_every_setting([](Setting& s) {
    const Tensor x = s.output_like(s.input(1)), count = Tensor::full({1}, DType::i32, -1, s.device);
    std::int64_t expected = 0;
    for (std::int64_t t = 0; t < s.rows; t += 2) {
      const double bad[] = {inf, -inf, nan};
      const std::int64_t column = t * 7 % s.width;
      x.slice(0, t, t + 1).slice(1, column, column + 1).fill(bad[expected % 3]);
      ++expected;
    }
    kernels(x).count_non_finite(x, count);
    EXPECT_EQ(count.item(), expected);
    x.fill(3.3e38);  // large but finite
    kernels(x).count_non_finite(x, count);
    EXPECT_EQ(count.item(), 0);
  });
}

struct AdamState {
  Values master, m, v;
};

void reference_adamw(AdamState& s, const Values& gradient, const AdamW& o) {
  for (std::size_t i = 0; i < s.master.size(); ++i) {
    const double g = gradient[i] * o.gradient_scale;
    s.m[i] = o.beta1 * s.m[i] + (1 - double{o.beta1}) * g;
    s.v[i] = o.beta2 * s.v[i] + (1 - double{o.beta2}) * g * g;
    const double m = s.m[i] / (1 - std::pow(double{o.beta1}, o.step)),
                 v = s.v[i] / (1 - std::pow(double{o.beta2}, o.step));
    s.master[i] -= o.learning_rate * (m / (std::sqrt(v) + o.epsilon) + o.weight_decay * s.master[i]);
  }
}

struct AdamCase {
  std::int64_t n;
  float weight_decay, gradient_scale;
  bool has_value;
  DType value;
};
constexpr AdamCase adam_cases[] = {{1, 0.0F, 1.0F, true, DType::f32},
                                   {17, 0.1F, 0.01F, true, DType::bf16},
                                   {1000, 0.05F, 3.0F, false, DType::f32},
                                   {5003, 0.0F, 1.0F, true, DType::bf16},
                                   {0, 0.1F, 1.0F, true, DType::f32}};

TEST(AdamW, FollowsTheReferenceOverSteps) {
  on_every_stream([] {
    for (const AdamCase& c : adam_cases) {
      SCOPED_TRACE(c.n);
      const Tensor master = random_tensor({c.n}, DType::f32, 1), m = Tensor::zeros({c.n}, DType::f32, tested_device()),
                   v = m.clone();
      const Tensor value = c.has_value ? Tensor::full({c.n}, c.value, nan, tested_device()) : Tensor();
      AdamState expected{values_of(master), Values(c.n), Values(c.n)};
      for (int step = 1; step <= 20; ++step) {
        const Tensor gradient = random_tensor({c.n}, DType::f32, 100 + step);
        const AdamW options{
            .learning_rate = 0.01F, .weight_decay = c.weight_decay, .step = step, .gradient_scale = c.gradient_scale};
        kernels(master).adamw(master, m, v, gradient, value, options);
        reference_adamw(expected, values_of(gradient), options);
      }
      EXPECT_CLOSE(master, expected.master, 2e-6);
      EXPECT_CLOSE(m, expected.m, 2e-6);
      EXPECT_CLOSE(v, expected.v, 2e-5);  // 1 - beta2 is 0.001 to within f32's rounding of beta2
      if (c.has_value) {
        EXPECT_EQ(values_of(value), values_of(master.to(c.value)));
      }
    }
  });
}

// Tensors of all kinds in one list: empty, of a part of a block, of many blocks, at odd places, with values of either
// dtype and without, decayed and not.
TEST(AdamW, UpdatesOfAListAreThoseOfEach) {
  on_every_stream([] {
    const AdamW options{.learning_rate = 0.01F, .weight_decay = 0.1F, .step = 3, .gradient_scale = 0.5F};
    std::vector<AdamWTensors> together, alone;
    std::uint64_t seed = 1;
    for (const std::int64_t n : {0, 1, 17, 4096, 0, 4099, 70'000, 0}) {
      const auto make = [&] { return random_tensor({n + 1}, DType::f32, ++seed).slice(0, n % 2, n % 2 + n); };
      const DType dtype = n % 3 == 1 ? DType::bf16 : DType::f32;
      const Tensor value = n == 4096 ? Tensor() : Tensor::full({n}, dtype, nan, tested_device());
      together.push_back({make(), make(), make(), make(), value, n % 4 != 3});
      together.back().v.fill(0.3);  // no square is negative
      const auto copy = [](const Tensor& x) { return x.defined() ? x.clone() : x; };
      const AdamWTensors& last = together.back();
      alone.push_back(
          {copy(last.master), copy(last.m), copy(last.v), copy(last.gradient), copy(last.value), last.decays});
    }
    Kernels& k = kernels(tested_device());
    k.adamw(together, options);
    for (std::size_t i = 0; i < alone.size(); ++i) {
      SCOPED_TRACE(i);
      const auto& [master, m, v, gradient, value, decays] = alone[i];
      AdamW own = options;
      if (!decays) own.weight_decay = 0;
      k.adamw(master, m, v, gradient, value, own);
      EXPECT_EQ(values_of(together[i].master), values_of(master));
      EXPECT_EQ(values_of(together[i].m), values_of(m));
      EXPECT_EQ(values_of(together[i].v), values_of(v));
      if (value.defined()) {
        EXPECT_EQ(values_of(together[i].value), values_of(value));
      }
    }
    k.adamw(std::span<const AdamWTensors>(), options);
  });
}

TEST(AdamW, RefusesWhatDoesNotFit) {
  const Tensor x = Tensor::zeros({4}, DType::f32, tested_device()),
               half = Tensor::zeros({4}, DType::bf16, tested_device());
  Kernels& k = kernels(x);
  EXPECT_THAT([&] { k.adamw(half, x, x, x, x, {}); },
              ::testing::ThrowsMessage<Error>(::testing::HasSubstr("adamw: master is bf16 instead of f32")));
  EXPECT_THAT([&] { k.adamw(x, x, x, Tensor::zeros({3}, DType::f32, tested_device()), x, {}); },
              ::testing::ThrowsMessage<Error>(::testing::HasSubstr("adamw: gradient [3] must have 4 elements")));
  EXPECT_THAT([&] { k.adamw(x, x, x, x, x, {.step = 0}); },
              ::testing::ThrowsMessage<Error>(::testing::HasSubstr("adamw: step is 0")));
}

TEST(Optimizer, SameBitsForAnyNumberOfThreads) {
  if (tested_device().kind() != DeviceKind::cpu) GTEST_SKIP() << "OpenMP's threads are the CPU's";
  expect_same_for_any_threads([](Setting& s) -> std::vector<Tensor> {
    const Tensor x = s.input(1), sum = Tensor::zeros({1}, DType::f64, tested_device()), squares = sum.clone();
    kernels(x).sum(x, sum);
    kernels(x).sum_of_squares(x, squares);
    const std::int64_t n = 100'000;
    const Tensor master = s.dense({n}, DType::f32, 2), m = Tensor::zeros({n}, DType::f32, tested_device()),
                 v = m.clone();
    const Tensor value = Tensor::empty({n}, s.dtype, tested_device());
    kernels(x).adamw(master, m, v, s.dense({n}, DType::f32, 3), value, {.weight_decay = 0.1F});
    return {sum, squares, master, m, v, value};
  });
}

}  // namespace
}  // namespace skymm::testing
