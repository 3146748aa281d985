#include "ops/reference/reference_rows.hpp"
#include "ops/reference/settings.hpp"

namespace skymm::testing {
namespace {

struct ActivationCase {
  Activation kind;
  const char* name;
};
constexpr ActivationCase activations[] = {{Activation::none, "none"},           {Activation::relu, "relu"},
                                          {Activation::silu, "silu"},           {Activation::gelu, "gelu"},
                                          {Activation::gelu_tanh, "gelu_tanh"}, {Activation::quick_gelu, "quick_gelu"}};

Values each_value(Values x, const std::function<double(double)>& f) {
  for (double& v : x) v = f(v);
  return x;
}

Values product(Values x, const Values& y, double scale = 1) {
  for (std::size_t i = 0; i < x.size(); ++i) x[i] *= scale * y[i];
  return x;
}

TEST(ElementwiseReference, GradientsAreThoseOfTheForwardPass) {
  const Values x = values_of(random_tensor({24}, DType::f32, 1, 2.0)),
               dy = values_of(random_tensor({24}, DType::f32, 2));
  for (const auto& [kind, name] : activations) {
    const auto value = [k = kind](const Values& v) {
      return each_value(v, [k](double one) { return reference_activation(k, one); });
    };
    const Values slope = each_value(x, [k = kind](double one) { return reference_activation_slope(k, one); });
    EXPECT_LE(relative_error(product(slope, dy), finite_difference_gradient(value, x, dy)), 1e-8) << name;
  }
  const Values half(dy.begin(), dy.begin() + 12);
  const auto swiglu = [](const Values& v) { return reference_swiglu(v, 8); };
  EXPECT_LE(relative_error(reference_swiglu_gradient(x, half, 8), finite_difference_gradient(swiglu, x, half)), 1e-8);
}

TEST(Elementwise, Activations) {
  for_every_setting([](Setting& s) {
    for (const auto& [kind, name] : activations) {
      SCOPED_TRACE(name);
      const Tensor x = s.input(1, 3.0), dy = s.input(2), y = s.output(), dx = s.output();
      kernels(x).activation(kind, x, y);
      kernels(x).activation_gradient(kind, x, dy, dx);
      const Activation k = kind;
      EXPECT_CLOSE(y, each_value(values_of(x), [k](double v) { return reference_activation(k, v); }),
                   tolerance(s.dtype));
      const Values slope = each_value(values_of(x), [k](double v) { return reference_activation_slope(k, v); });
      EXPECT_CLOSE(dx, product(slope, values_of(dy)), tolerance(s.dtype));
    }
  });
}

// Each value by itself, over all magnitudes; in the far tail the reference itself cancels (1 + tanh).
TEST(Elementwise, ActivationsAreExactFromTailToTail) {
  Values xs;
  for (double x = -100; x <= 100; x += 0.037) xs.push_back(static_cast<float>(x));
  for (double x = 1e-30; x < 10; x *= 3) xs.insert(xs.end(), {static_cast<float>(x), static_cast<float>(-x)});
  const Tensor x = tensor_of(xs, {static_cast<std::int64_t>(xs.size())}, DType::f32), ones = x.empty_like();
  ones.fill(1.0);
  for (const auto& [kind, name] : activations) {
    const Tensor y = x.empty_like(), dx = x.empty_like();
    kernels(x).activation(kind, x, y);
    kernels(x).activation_gradient(kind, x, ones, dx);
    const Values values = values_of(y), slopes = values_of(dx);
    for (std::size_t i = 0; i < xs.size(); ++i) {
      const double expected = reference_activation(kind, xs[i]), slope = reference_activation_slope(kind, xs[i]);
      ASSERT_NEAR(values[i], expected, 3e-6 * std::abs(expected) + 1e-14) << name << " of " << xs[i];
      ASSERT_NEAR(slopes[i], slope, 1e-6 * std::max(1.0, std::abs(slope))) << name << "' at " << xs[i];
    }
  }
}

TEST(Elementwise, ActivationsKeepNotANumberAndTheLimits) {
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Tensor x = tensor_of({nan, inf, 1e38, -1e38, 1, nan}, {6}, dtype);
    for (const auto& [kind, name] : activations) {
      const Tensor y = x.empty_like();
      kernels(x).activation(kind, x, y);
      const Values values = values_of(y);
      EXPECT_TRUE(std::isnan(values[0]) && std::isnan(values[5])) << name;
      EXPECT_EQ(values[1], inf) << name;
      EXPECT_EQ(values[2], values_of(x)[2]) << name;
      EXPECT_NEAR(values[3], kind == Activation::none ? values_of(x)[3] : 0, 1) << name;
    }
  }
}

TEST(Elementwise, SwiGlu) {
  for_every_setting([](Setting& s) {
    const Tensor gate_up = s.input(s.rows, 2 * s.width, s.dtype, 1), dy = s.input(2);
    const Tensor y = s.output(), dx = s.output(s.rows, 2 * s.width, s.dtype);
    kernels(dy).swiglu(gate_up, y);
    kernels(dy).swiglu_gradient(gate_up, dy, dx);
    EXPECT_CLOSE(y, reference_swiglu(values_of(gate_up), 2 * s.width), tolerance(s.dtype));
    EXPECT_CLOSE(dx, reference_swiglu_gradient(values_of(gate_up), values_of(dy), 2 * s.width), tolerance(s.dtype));
  });
}

TEST(Elementwise, SumsAndProducts) {
  for_every_setting([](Setting& s) {
    const Tensor x = s.input(1), y = s.input(2), sum = s.output(), scaled = s.output(), both = s.output();
    Kernels& k = kernels(x);
    k.add(x, y, sum);
    k.multiply(x, Tensor(), -0.7F, scaled);
    k.multiply(x, y, 1.5F, both);
    EXPECT_CLOSE(sum, reference_sum(values_of(x), values_of(y)), tolerance(s.dtype));
    EXPECT_CLOSE(scaled, product(values_of(x), Values(static_cast<std::size_t>(x.numel()), 1), -0.7),
                 tolerance(s.dtype));
    EXPECT_CLOSE(both, product(values_of(x), values_of(y), 1.5), tolerance(s.dtype));
    const Tensor in_place = s.output_like(x);
    k.add(in_place, y, in_place);
    EXPECT_EQ(values_of(in_place), values_of(sum));
  });
}

TEST(Elementwise, RowsOfATable) {
  for_every_setting([](Setting& s) {
    for (const std::int64_t n : {1, 3, 8}) {
      const Tensor x = s.input(1), table = s.input(n, s.width, s.dtype, 2), y = s.output();
      const Tensor before = s.input(n, s.width, DType::f32, 3), dtable = s.output_like(before);
      kernels(x).add_rows(x, table, y);
      kernels(x).sum_rows(x, dtable);
      const Values xs = values_of(x), rows = values_of(table);
      Values expected = xs, sums = values_of(before);
      for (std::size_t i = 0; i < xs.size(); ++i) {
        const std::size_t place = i % (n * s.width);
        expected[i] += rows[place];
        sums[place] += xs[i];
      }
      EXPECT_CLOSE(y, expected, tolerance(s.dtype));
      EXPECT_CLOSE(dtable, sums, 2e-6);
    }
  });
}

TEST(Elementwise, HeadsCountAsRows) {
  const Tensor x = random_tensor({5, 3, 16}, DType::bf16, 1), y = x.empty_like();
  kernels(x).activation(Activation::relu, x, y);
  EXPECT_EQ(values_of(y), each_value(values_of(x), [](double v) { return std::max(v, 0.0); }));
}

// A store rounds as BFloat16 does, to nearest even, whatever the vector length.
TEST(Elementwise, BFloat16RoundsToNearestEven) {
  const Tensor x = random_tensor({777}, DType::bf16, 1), y = x.empty_like();
  kernels(x).multiply(x, x, 1.0F, y);
  const std::vector<float> from = x.to_vector(), to = y.to_vector();
  for (std::size_t i = 0; i < from.size(); ++i) {
    ASSERT_EQ(to[i], static_cast<float>(BFloat16(from[i] * from[i]))) << from[i];
  }
}

TEST(Elementwise, SameBitsForAnyNumberOfThreads) {
  if (tested_device().kind() != DeviceKind::cpu) GTEST_SKIP() << "OpenMP's threads are the CPU's";
  expect_same_for_any_threads([](Setting& s) -> std::vector<Tensor> {
    const Tensor x = s.input(1), dy = s.input(2), y = s.output(), dx = s.output();
    const Tensor one = Tensor::zeros({1, s.width}, DType::f32, tested_device()),
                 seven = Tensor::zeros({7, s.width}, DType::f32, tested_device());
    kernels(x).activation(Activation::gelu, x, y);
    kernels(x).activation_gradient(Activation::silu, x, dy, dx);
    kernels(x).sum_rows(x, one);
    kernels(x).sum_rows(x, seven);
    return {y, dx, one, seven};
  });
}

TEST(ElementwiseErrors, NameThePrimitiveAndTheTensor) {
  const Tensor x = Tensor::zeros({4, 6}, DType::f32, tested_device()),
               other = Tensor::zeros({4, 5}, DType::f32, tested_device());
  Kernels& k = kernels(x);
  const auto message = [](const std::function<void()>& call) -> std::string {
    try {
      call();
    } catch (const Error& error) {
      return error.message();
    }
    return "no error";
  };
  EXPECT_EQ(message([&] { k.add(x, other, x); }), "add: y has the shape [4, 5] instead of [4, 6]");
  EXPECT_EQ(message([&] { k.swiglu(other, x); }), "swiglu: gate_up must have an even width, [gate | up]");
  EXPECT_EQ(message([&] { k.swiglu(x, other); }), "swiglu: y has the shape [4, 5] instead of [4, 3]");
  EXPECT_EQ(message([&] { k.add_rows(x, other, x); }), "add_rows: table must be as wide as x");
  EXPECT_EQ(message([&] { k.activation(Activation::relu, Tensor::zeros({4}, DType::i32, tested_device()), x); }),
            "activation: x is i32, not f32 or bf16");
}

}  // namespace
}  // namespace skymm::testing
