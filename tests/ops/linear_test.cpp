#include <omp.h>

#include "core/error.hpp"
#include "ops/reference/reference_matrix.hpp"

namespace skymm::testing {
namespace {

double bound(DType dtype) { return dtype == DType::bf16 ? 6e-3 : 2e-6; }

struct Case {
  std::int64_t tokens, in, out;
};
constexpr Case cases[] = {{1, 1, 1},     {1, 64, 64},    {3, 17, 33},    {17, 65, 129},  {33, 129, 16},
                          {64, 16, 65},  {129, 96, 8},   {65, 256, 192}, {256, 33, 100}, {300, 4, 130},
                          {1, 131, 192}, {2, 130, 256},  {4, 64, 128},   {5, 97, 200},   {8, 200, 320},
                          {9, 96, 64},   {40, 160, 288}, {1, 577, 190},  {3, 260, 640},  {8, 1537, 70}};

// The expected y (before activation): x W^T + bias
Values reference_linear(const Tensor& x, const Tensor& w, const Tensor& bias) {
  const std::int64_t tokens = x.dim(0), in = x.dim(1), out = w.dim(0);
  Values y = reference_product(values_of(x), reference_transpose(values_of(w), out, in), tokens, in, out);
  if (bias.defined()) {
    const Values b = values_of(bias);
    for (std::size_t i = 0; i < y.size(); ++i) y[i] += b[i % b.size()];
  }
  return y;
}

using Parameters = std::tuple<DType, Packing>;
class LinearTest : public ::testing::TestWithParam<Parameters> {
 protected:
  void SetUp() override {
    if (tested_device().kind() != DeviceKind::cpu && packing_ != Packing::none)
      GTEST_SKIP() << "nothing is packed there";
  }

  DType dtype_ = std::get<0>(GetParam());
  Packing packing_ = std::get<1>(GetParam());
};

TEST_P(LinearTest, ForwardWithEveryActivation) {
  constexpr Activation activations[] = {Activation::none, Activation::relu,      Activation::silu,
                                        Activation::gelu, Activation::gelu_tanh, Activation::quick_gelu};
  on_every_stream([&] {
    for (const auto& [tokens, in, out] : cases) {
      SCOPED_TRACE(fmt::format("{} tokens, {} to {}", tokens, in, out));
      const Tensor x = random_tensor({tokens, in}, dtype_, 1);
      const Tensor w = random_tensor({out, in}, dtype_, 2, 1 / std::sqrt(static_cast<double>(in)));
      const LinearWeightPtr weight = kernels(x).make_linear_weight(w, packing_);
      for (const Tensor& bias : {Tensor(), random_tensor({out}, dtype_, 3), random_tensor({out}, DType::f32, 4)}) {
        const Values plain = reference_linear(x, w, bias);
        for (const Activation activation : activations) {
          SCOPED_TRACE(static_cast<int>(activation));
          const Tensor y = Tensor::full({tokens, out}, dtype_, 9.0, tested_device());
          kernels(x).linear(x, *weight, bias, activation, y);
          Values expected = plain;
          for (double& value : expected) value = reference_activation(activation, value);
          EXPECT_CLOSE(y, expected, bound(dtype_));
        }
      }
    }
  });
}

TEST_P(LinearTest, StridedRowsAndAccumulation) {
  on_every_stream([&] {
    for (const auto& [tokens, in, out] : cases) {
      SCOPED_TRACE(fmt::format("{} tokens, {} to {}", tokens, in, out));
      const Tensor x = random_tensor({tokens, in + 7}, dtype_, 1).slice(1, 3, 3 + in);
      const Tensor w = random_tensor({out, in + 2}, dtype_, 2).slice(1, 1, 1 + in);
      const Tensor bias = random_tensor({out}, dtype_, 4);
      const Tensor all = random_tensor({tokens, out + 6}, dtype_, 3);
      const Tensor y = all.slice(1, 2, 2 + out), left = all.slice(1, 0, 2).clone();
      const LinearWeightPtr weight = kernels(x).make_linear_weight(w, packing_);
      const Values expected = reference_sum(values_of(y), reference_linear(x, w, bias));
      kernels(x).linear(x, *weight, bias, Activation::none, y, true);
      EXPECT_CLOSE(y, expected, bound(dtype_));
      EXPECT_EQ(values_of(all.slice(1, 0, 2)), values_of(left));

      const Tensor wide = Tensor::empty({tokens, out}, DType::f32, tested_device());
      kernels(x).linear(x, *weight, bias, Activation::none, wide);
      EXPECT_CLOSE(wide, reference_linear(x, w, bias), 2e-6);
    }
  });
}

TEST_P(LinearTest, InputGradient) {
  on_every_stream([&] {
    for (const auto& [tokens, in, out] : cases) {
      SCOPED_TRACE(fmt::format("{} tokens, {} to {}", tokens, in, out));
      const Tensor dy = random_tensor({tokens, out + 3}, dtype_, 1).slice(1, 1, 1 + out);
      const Tensor w = random_tensor({out, in}, dtype_, 2);
      const LinearWeightPtr weight = kernels(dy).make_linear_weight(w, packing_);
      const Values product = reference_product(values_of(dy), values_of(w), tokens, out, in);
      const Tensor dx = random_tensor({tokens, in + 5}, dtype_, 3).slice(1, 5, 5 + in);
      const Values sum = reference_sum(values_of(dx), product);
      kernels(dy).linear_input_gradient(dy, *weight, dx, true);
      EXPECT_CLOSE(dx, sum, bound(dtype_));
      kernels(dy).linear_input_gradient(dy, *weight, dx);
      EXPECT_CLOSE(dx, product, bound(dtype_));
    }
  });
}

TEST_P(LinearTest, PackedWeightsUnpackAndLetGoOfThePlainOnes) {
  Tensor w = random_tensor({65, 33}, dtype_, 1);
  const Values values = values_of(w);
  const LinearWeightPtr weight = kernels(w).make_linear_weight(w, packing_);
  EXPECT_EQ(weight->out, 65);
  EXPECT_EQ(weight->in, 33);
  EXPECT_EQ(weight->compute_dtype, dtype_);
  EXPECT_GE(weight->bytes(), w.bytes());
  EXPECT_EQ(w.is_unique(), packing_ != Packing::none);
  EXPECT_EQ(values_of(weight->plain()), values);

  w.fill(0.0);  // seen by a view only
  const Tensor x = random_tensor({5, 33}, dtype_, 2), y = Tensor::empty({5, 65}, dtype_, tested_device());
  kernels(x).linear(x, *weight, Tensor(), Activation::none, y);
  if (packing_ == Packing::none) {
    EXPECT_EQ(values_of(y), Values(5 * 65, 0.0));
  } else {
    EXPECT_GT(relative_error(values_of(y), Values(5 * 65, 0.0)), 1.0);
  }
}

TEST_P(LinearTest, DeferredWorkOutlivesTheWeight) {
  const Tensor x = random_tensor({5, 33}, dtype_, 2), w = random_tensor({65, 33}, dtype_, 1);
  const auto stream = deferred_stream();
  const StreamScope scope(*stream);
  const Tensor y = Tensor::empty({5, 65}, dtype_, tested_device()),
               dx = Tensor::empty({5, 33}, dtype_, tested_device());
  {
    const LinearWeightPtr weight = kernels(x).make_linear_weight(w.clone(), packing_);
    kernels(x).linear(x, *weight, Tensor(), Activation::none, y);
    kernels(x).linear_input_gradient(y, *weight, dx);
  }
  EXPECT_CLOSE(y, reference_linear(x, w, Tensor()), bound(dtype_));
  EXPECT_CLOSE(dx, reference_product(values_of(y), values_of(w), 5, 65, 33), bound(dtype_));
}

TEST_P(LinearTest, NoTokens) {
  const Tensor w = random_tensor({65, 33}, dtype_, 1);
  const LinearWeightPtr weight = kernels(w).make_linear_weight(w, packing_);
  const Tensor x = Tensor::empty({0, 33}, dtype_, tested_device()), y = Tensor::empty({0, 65}, dtype_, tested_device());
  kernels(x).linear(x, *weight, Tensor(), Activation::gelu, y);
  kernels(x).linear_input_gradient(y, *weight, x);
  const Tensor dw = Tensor::full({65, 33}, DType::f32, 3.0, tested_device());
  kernels(x).linear_weight_gradient(y, x, dw);
  EXPECT_EQ(values_of(dw), Values(65 * 33, 3.0));
}

TEST_P(LinearTest, SameBitsForAnyNumberOfThreads) {
  if (tested_device().kind() != DeviceKind::cpu) GTEST_SKIP() << "OpenMP's threads are the CPU's";
  const int before = omp_get_max_threads();
  for (const auto& [tokens, in, out] :
       {Case{64, 576, 1536}, {1, 2048, 64}, {1, 576, 3072}, {2, 1536, 576}, {130, 1536, 16}, {512, 16, 300}}) {
    SCOPED_TRACE(fmt::format("{} tokens, {} to {}", tokens, in, out));
    const Tensor x = random_tensor({tokens, in}, dtype_, 1), w = random_tensor({out, in}, dtype_, 2);
    const Tensor dy = random_tensor({tokens, out}, dtype_, 3);
    const LinearWeightPtr weight = kernels(x).make_linear_weight(w, packing_);
    std::vector<std::vector<Values>> results;
    for (const int threads : {1, 2, 3}) {
      omp_set_num_threads(threads);
      const Tensor y = Tensor::empty({tokens, out}, dtype_, tested_device()),
                   dx = Tensor::empty({tokens, in}, dtype_, tested_device());
      const Tensor dw = Tensor::zeros({out, in}, DType::f32, tested_device());
      kernels(x).linear(x, *weight, Tensor(), Activation::silu, y);
      kernels(x).linear_input_gradient(dy, *weight, dx);
      kernels(x).linear_weight_gradient(dy, x, dw);
      results.push_back({values_of(y), values_of(dx), values_of(dw)});
    }
    EXPECT_EQ(results[0], results[1]);
    EXPECT_EQ(results[0], results[2]);
  }
  omp_set_num_threads(before);
}

std::string name_of_parameters(const ::testing::TestParamInfo<Parameters>& info) {
  constexpr const char* packings[] = {"none", "forward", "both"};
  const auto [dtype, packing] = info.param;
  return fmt::format("{}_{}", name_of(dtype), packings[static_cast<int>(packing)]);
}

INSTANTIATE_TEST_SUITE_P(All, LinearTest,
                         ::testing::Combine(::testing::Values(DType::f32, DType::bf16),
                                            ::testing::Values(Packing::none, Packing::forward, Packing::both)),
                         name_of_parameters);

TEST(LinearWeightGradient, AddsScaledToF32) {
  on_every_stream([] {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      for (const auto& [tokens, in, out] : cases) {
        SCOPED_TRACE(fmt::format("{} tokens, {} to {}, {}", tokens, in, out, name_of(dtype)));
        const Tensor dy = random_tensor({tokens, out + 3}, dtype, 1).slice(1, 3, 3 + out);
        const Tensor x = random_tensor({tokens, in + 1}, dtype, 2).slice(1, 1, 1 + in);
        const Tensor dw = random_tensor({out, in}, DType::f32, 3);
        const Values product =
            reference_product(reference_transpose(values_of(dy), tokens, out), values_of(x), out, tokens, in);
        const Values expected = reference_sum(values_of(dw), product, 0.25);
        kernels(x).linear_weight_gradient(dy, x, dw, 0.25F);
        EXPECT_CLOSE(dw, expected, 2e-6);
      }
    }
  });
}

TEST(LinearErrors, SayWhatDoesNotFit) {
  Kernels& k = kernels(tested_device());
  const LinearWeightPtr w = k.make_linear_weight(Tensor::zeros({8, 4}, DType::f32, tested_device()), Packing::forward);
  const Tensor x = Tensor::zeros({3, 4}, DType::f32, tested_device()),
               y = Tensor::zeros({3, 8}, DType::f32, tested_device());
  EXPECT_THROW(k.linear(y, *w, Tensor(), Activation::none, x), Error);
  EXPECT_THROW(k.linear(x.to(DType::bf16), *w, Tensor(), Activation::none, y), Error);
  EXPECT_THROW(k.linear(x, *w, Tensor::zeros({4}, DType::f32, tested_device()), Activation::none, y), Error);
  EXPECT_THROW(k.linear(x, *w, Tensor(), Activation::relu, y, true), Error);
  EXPECT_THROW(k.linear_input_gradient(x, *w, y), Error);
  EXPECT_THROW(k.linear_weight_gradient(y, x, Tensor::zeros({8, 4}, DType::bf16, tested_device())), Error);
  EXPECT_THROW(k.make_linear_weight(Tensor::zeros({8, 4}, DType::i8, tested_device()), Packing::none), Error);
}

}  // namespace
}  // namespace skymm::testing
