#include "ops/reference/reference_rows.hpp"
#include "ops/reference/settings.hpp"

namespace skymm::testing {
namespace {

constexpr double eps = 1e-5;

TEST(NormReference, GradientsAreThoseOfTheForwardPass) {
  constexpr std::int64_t rows = 3, d = 5;
  const auto random = [](std::int64_t n, int seed) { return values_of(random_tensor({n}, DType::f32, seed)); };
  const Values x = random(rows * d, 1), w = random(d, 2), b = random(d, 3), dy = random(rows * d, 4);
  for (const bool centred : {true, false}) {
    const Normalized n = reference_norm(x, w, b, eps, centred, d);
    const NormGradient gradient = reference_norm_gradient(dy, x, w, n, centred, d);
    const auto in_x = [&](const Values& v) { return reference_norm(v, w, b, eps, centred, d).y; };
    const auto in_w = [&](const Values& v) { return reference_norm(x, v, b, eps, centred, d).y; };
    const auto in_b = [&](const Values& v) { return reference_norm(x, w, v, eps, centred, d).y; };
    EXPECT_LE(relative_error(gradient.dx, finite_difference_gradient(in_x, x, dy)), 1e-8);
    EXPECT_LE(relative_error(gradient.dweight, finite_difference_gradient(in_w, w, dy)), 1e-8);
    EXPECT_LE(relative_error(gradient.dbias, finite_difference_gradient(in_b, b, dy)), 1e-8);
  }
  for (const double floor : {1e-6, 10.0}) {
    const auto l2 = [&](const Values& v) { return reference_l2_normalize(v, floor, d); };
    EXPECT_LE(relative_error(reference_l2_normalize_gradient(dy, x, floor, d), finite_difference_gradient(l2, x, dy)),
              1e-8);
  }
}

struct NormCase {
  bool layer, with_weight, with_bias;
};
constexpr NormCase norm_cases[] = {{true, true, true}, {true, true, false}, {true, false, false}, {false, true, false}};

// Rows far from zero, so that a variance of squares less the mean's square would be seen.
Tensor off_centre(const Setting& s, std::uint64_t seed) {
  const Tensor x = s.input(seed);
  x.add(Tensor::full(x.shape(), s.dtype, 3.0, s.device));
  return x;
}

TEST(Norm, Forward) {
  for_every_setting([](Setting& s) {
    for (const NormCase& c : norm_cases) {
      const Tensor x = off_centre(s, 1), weight = c.with_weight ? s.dense({s.width}, s.dtype, 2) : Tensor();
      const Tensor bias = c.with_bias ? s.dense({s.width}, s.dtype, 3) : Tensor();
      const Tensor y = s.output(), mean = s.column(), inverse = s.column();
      if (c.layer) {
        kernels(x).layer_norm(x, weight, bias, eps, y, mean, inverse);
      } else {
        kernels(x).rms_norm(x, Tensor(), weight, eps, y, inverse);
      }
      const Normalized expected = reference_norm(values_of(x), c.with_weight ? values_of(weight) : Values(),
                                                 c.with_bias ? values_of(bias) : Values(), eps, c.layer, s.width);
      EXPECT_CLOSE(y, expected.y, tolerance(s.dtype));
      EXPECT_CLOSE(inverse, expected.inverse, 2e-6);
      if (c.layer) expect_close(mean, expected.centre, 2e-6);
    }
  });
}

TEST(Norm, ResidualIsAddedAndKeptFirst) {
  for_every_setting([](Setting& s) {
    const Tensor start = s.input(1), residual = s.input(2), weight = s.dense({s.width}, s.dtype, 3);
    const Tensor x = s.output_like(start), y = s.output(), inverse = s.column();
    kernels(x).rms_norm(x, residual, weight, eps, y, inverse);
    const Tensor sum = tensor_of(reference_sum(values_of(start), values_of(residual)), start.shape(), s.dtype);
    EXPECT_EQ(values_of(x), values_of(sum));
    EXPECT_CLOSE(y, reference_norm(values_of(sum), values_of(weight), {}, eps, false, s.width).y, tolerance(s.dtype));
  });
}

TEST(Norm, Gradients) {
  for_every_setting([](Setting& s) {
    for (const NormCase& c : norm_cases) {
      const Tensor x = off_centre(s, 1), dy = s.input(2);
      const Tensor weight = c.with_weight ? s.dense({s.width}, s.dtype, 3) : Tensor();
      const Values w = c.with_weight ? values_of(weight) : Values();
      const Normalized n = reference_norm(values_of(x), w, {}, eps, c.layer, s.width);
      const NormGradient expected = reference_norm_gradient(values_of(dy), values_of(x), w, n, c.layer, s.width);
      const Tensor mean = s.dense(n.centre, {s.rows}, DType::f32), inverse = s.dense(n.inverse, {s.rows}, DType::f32);
      const Tensor before = s.input(4), dx = s.output(), sum = s.output_like(before);
      const Tensor dweight = s.dense({s.width}, DType::f32, 5), dbias = s.dense({s.width}, DType::f32, 6);
      const Values dweight_sum = reference_sum(values_of(dweight), expected.dweight);
      const Values dbias_sum = reference_sum(values_of(dbias), expected.dbias);
      Kernels& k = kernels(x);
      if (c.layer) {
        k.layer_norm_input_gradient(dy, x, weight, mean, inverse, dx);
        k.layer_norm_input_gradient(dy, x, weight, mean, inverse, sum, true);
        k.layer_norm_weight_gradient(dy, x, mean, inverse, dweight, c.with_bias ? dbias : Tensor());
      } else {
        k.rms_norm_input_gradient(dy, x, weight, inverse, dx);
        k.rms_norm_input_gradient(dy, x, weight, inverse, sum, true);
        k.rms_norm_weight_gradient(dy, x, inverse, dweight);
      }
      const double scale = norm_of(values_of(dy)) * norm_of(n.inverse);
      expect_close(dx, expected.dx, tolerance(s.dtype), scale);
      expect_close(sum, reference_sum(values_of(before), expected.dx), tolerance(s.dtype), scale);
      expect_close(dweight, dweight_sum, 2e-6, norm_of(values_of(dy)));
      if (c.with_bias) expect_close(dbias, dbias_sum, 2e-6);
    }
  });
}

TEST(Norm, EitherWeightGradientAlone) {
  const Tensor x = random_tensor({70, 9}, DType::f32, 1), mean = random_tensor({70}, DType::f32, 2);
  const Tensor inverse = Tensor::full({70}, DType::f32, 2.0, tested_device()),
               one = Tensor::zeros({9}, DType::f32, tested_device());
  kernels(x).layer_norm_weight_gradient(x, x, mean, inverse, Tensor(), one);
  Values sums(9);
  const Values values = values_of(x);
  for (std::size_t i = 0; i < values.size(); ++i) sums[i % 9] += values[i];
  EXPECT_CLOSE(one, sums, 2e-6);
}

TEST(Norm, L2Normalize) {
  for_every_setting([](Setting& s) {
    for (const double floor : {1e-6, 1e3}) {  // above every row's norm: the gradient passes
      const Tensor x = s.input(1), dy = s.input(2), y = s.output(), inverse = s.column(), dx = s.output();
      kernels(x).l2_normalize(x, static_cast<float>(floor), y, inverse);
      kernels(x).l2_normalize_gradient(dy, y, inverse, dx);
      EXPECT_CLOSE(y, reference_l2_normalize(values_of(x), floor, s.width), tolerance(s.dtype));
      expect_close(dx, reference_l2_normalize_gradient(values_of(dy), values_of(x), floor, s.width), tolerance(s.dtype),
                   norm_of(values_of(dy)) * norm_of(values_of(inverse)));
    }
  });
}

TEST(Norm, SameBitsForAnyNumberOfThreads) {
  if (tested_device().kind() != DeviceKind::cpu) GTEST_SKIP() << "OpenMP's threads are the CPU's";
  expect_same_for_any_threads([](Setting& s) -> std::vector<Tensor> {
    const Tensor x = s.input(1), dy = s.input(2), weight = s.dense({s.width}, s.dtype, 3);
    const Tensor y = s.output(), dx = s.output(), mean = s.column(), inverse = s.column();
    const Tensor dweight = Tensor::zeros({s.width}, DType::f32, tested_device()),
                 dbias = Tensor::zeros({s.width}, DType::f32, tested_device());
    Kernels& k = kernels(x);
    k.layer_norm(x, weight, weight, eps, y, mean, inverse);
    k.layer_norm_input_gradient(dy, x, weight, mean, inverse, dx);
    k.layer_norm_weight_gradient(dy, x, mean, inverse, dweight, dbias);
    return {y, dx, mean, inverse, dweight, dbias};
  });
}

TEST(NormErrors, NameThePrimitiveAndTheTensor) {
  const Tensor x = Tensor::zeros({4, 6}, DType::f32, tested_device()),
               column = Tensor::zeros({4}, DType::f32, tested_device());
  const Tensor weight = Tensor::zeros({6}, DType::f32, tested_device()),
               half = Tensor::zeros({6}, DType::bf16, tested_device());
  const auto message = [&](const Tensor& w, const Tensor& y, const Tensor& inverse) -> std::string {
    try {
      kernels(x).rms_norm(x, Tensor(), w, eps, y, inverse);
    } catch (const Error& error) {
      return error.message();
    }
    return "no error";
  };
  EXPECT_EQ(message(weight, x.clone(), column), "no error");
  EXPECT_EQ(message(half, x.clone(), column), "rms_norm: weight is bf16 instead of f32");
  EXPECT_EQ(message(column, x.clone(), column), "rms_norm: weight [4] must have 6 elements");
  EXPECT_EQ(message(weight, x.slice(0, 0, 3), column), "rms_norm: y has the shape [3, 6] instead of [4, 6]");
  EXPECT_EQ(message(weight, x.clone(), Tensor()), "rms_norm: inv_rms is an undefined tensor");
  EXPECT_THAT(message(weight, Tensor::zeros({6, 4}, DType::f32, tested_device()).transpose(0, 1), column),
              ::testing::HasSubstr("rms_norm: y [4, 6] must have the elements of a row adjacent"));
}

}  // namespace
}  // namespace skymm::testing
