#include <omp.h>

#include <cmath>
#include <limits>

#include "core/error.hpp"
#include "ops/reference/reference_matrix.hpp"

namespace skymm::testing {
namespace {

constexpr Quantization int8{QuantizedFormat::int8}, nf4{QuantizedFormat::nf4}, double_nf4{QuantizedFormat::nf4, true};
constexpr Quantization every_way[] = {int8, nf4, double_nf4};

QuantizedTensor quantized(const Tensor& weight, const Quantization& how) {
  const QuantizedTensor codes = QuantizedTensor::empty(weight.shape(), how, tested_device());
  kernels(weight).quantize(weight, codes);
  return codes;
}

Values dequantized(const QuantizedTensor& codes) {
  const Tensor plain = Tensor::empty(codes.shape, DType::f32, tested_device());
  kernels(plain).dequantize(codes, plain);
  return values_of(plain);
}

// The two formats as their papers define them, in double precision: the scale of every block of `block` elements of the
// flattened weight, and the value nearest to each element.
struct Reference {
  std::vector<double> scales;
  Values values;
};

Reference reference_nf4(const Values& w) {
  // QLoRA, appendix E
  constexpr double levels[] = {-1.0,
                               -0.6961928009986877,
                               -0.5250730514526367,
                               -0.39491748809814453,
                               -0.28444138169288635,
                               -0.18477343022823334,
                               -0.09105003625154495,
                               0.0,
                               0.07958029955625534,
                               0.16093020141124725,
                               0.24611230194568634,
                               0.33791524171829224,
                               0.44070982933044434,
                               0.5626170039176941,
                               0.7229568362236023,
                               1.0};
  Reference r;
  for (std::size_t begin = 0; begin < w.size(); begin += 64) {
    double scale = 0;
    for (std::size_t i = begin; i < begin + 64; ++i) scale = std::max(scale, std::abs(w[i]));
    r.scales.push_back(scale);
    for (std::size_t i = begin; i < begin + 64; ++i) {
      double best = levels[7] * scale;
      for (const double level : levels) {
        if (std::abs(level * scale - w[i]) < std::abs(best - w[i])) best = level * scale;
      }
      r.values.push_back(best);
    }
  }
  return r;
}

TEST(Quantize, Nf4TakesTheNearestOfTheSixteenValuesInBlocksOf64) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Tensor w = random_tensor({37, 192}, dtype, 1, 0.02);
    const QuantizedTensor codes = quantized(w, nf4);
    const Reference expected = reference_nf4(values_of(w));
    EXPECT_EQ(codes.codes.shape(), Shape({37, 96}));
    EXPECT_EQ(codes.scales.shape(), Shape({37, 3}));
    EXPECT_EQ(values_of(codes.scales), expected.scales);
    EXPECT_LT(relative_error(dequantized(codes), expected.values), 1e-7);
  }
}

TEST(Quantize, Nf4PacksTheFirstOfTwoElementsAbove) {
  std::vector<float> w(64, 0.0F);
  w[0] = 2.0F;   // code 15
  w[1] = -2.0F;  // code 0
  w[2] = 0.17F;  // 0.085: code 8
  const QuantizedTensor codes = quantized(Tensor::from(w, {1, 64}, tested_device()), nf4);
  const std::vector<std::int32_t> bytes = codes.codes.to_vector<std::int32_t>();
  EXPECT_EQ(bytes[0], 0xf0);
  EXPECT_EQ(bytes[1], 0x87);
  EXPECT_EQ(bytes[2], 0x77);  // zero is exact
  EXPECT_EQ(codes.scales.to_vector()[0], 2.0F);
}

TEST(Quantize, Int8RoundsToNearestOfARow) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Tensor w = random_tensor({19, 131}, dtype, 2, 3.0);
    const QuantizedTensor codes = quantized(w, int8);
    const Values all = values_of(w), back = dequantized(codes);
    for (std::size_t row = 0; row < 19; ++row) {
      double largest = 0;
      for (std::size_t i = 0; i < 131; ++i) largest = std::max(largest, std::abs(all[row * 131 + i]));
      for (std::size_t i = 0; i < 131; ++i) {
        EXPECT_LE(std::abs(back[row * 131 + i] - all[row * 131 + i]), 0.5001 * largest / 127);
      }
    }
  }
}

TEST(Quantize, DoubleQuantizationKeepsScalesToHalfAStep) {
  const Tensor w = random_tensor({150, 256}, DType::f32, 3, 0.02);  // 600 scales: three groups, the last one short
  const QuantizedTensor once = quantized(w, nf4), twice = quantized(w, double_nf4);
  EXPECT_EQ(values_of(once.codes), values_of(twice.codes));
  const Values exact = values_of(once.scales), codes = values_of(twice.scales), steps = values_of(twice.scale_steps);
  const double offset = twice.scale_offset.item();
  ASSERT_EQ(steps.size(), 3U);
  double mean = 0;
  for (const double scale : exact) mean += scale / static_cast<double>(exact.size());
  EXPECT_NEAR(offset, mean, 1e-8);
  for (std::size_t i = 0; i < exact.size(); ++i) {
    EXPECT_NEAR(offset + steps[i / 256] * codes[i], exact[i], 0.5001 * steps[i / 256]);
  }
  EXPECT_LT(relative_error(dequantized(twice), dequantized(once)), 0.01);
  EXPECT_LT(twice.bytes() * 8, once.bytes() * 8 - 150 * 256 * 3 / 10);  // a third of a bit less an element
}

TEST(Quantize, BlocksOfZerosAndOddWidths) {
  for (const Quantization& how : every_way) {
    SCOPED_TRACE(name_of(how.format));
    EXPECT_EQ(dequantized(quantized(Tensor::zeros({3, 70}, DType::f32, tested_device()), how)), Values(210, 0.0));
    const Tensor w = random_tensor({5, 3, 7, 5}, DType::f32, 4);
    EXPECT_LT(relative_error(dequantized(quantized(w, how)), values_of(w)), 0.12);
    const Tensor strided = random_tensor({5, 80}, DType::bf16, 5).slice(1, 3, 70);
    EXPECT_EQ(dequantized(quantized(strided, how)), dequantized(quantized(strided.contiguous(), how)));
  }
}

TEST(Quantize, ErrorsSayWhatIsWrong) {
  Tensor w = Tensor::full({2, 64}, DType::f32, std::numeric_limits<double>::quiet_NaN(), tested_device());
  EXPECT_THROW(quantized(w, nf4), Error);
  EXPECT_THROW(QuantizedTensor::empty({2, 64}, {QuantizedFormat::int8, true}, tested_device()), Error);
  w.fill(1.0);
  EXPECT_THROW(kernels(w).quantize(w, QuantizedTensor::empty({2, 63}, nf4, tested_device())), Error);
  EXPECT_THROW(kernels(w).dequantize(quantized(w, nf4), Tensor::empty({4, 32}, DType::f32, tested_device())), Error);
  QuantizedTensor broken = quantized(w, nf4);
  broken.scales = broken.scales.slice(0, 0, 1);
  EXPECT_THROW(kernels(w).make_linear_weight(std::vector{broken}, DType::f32), Error);
  const std::vector<QuantizedTensor> mixed{quantized(w, nf4), quantized(w, int8)};
  EXPECT_THROW(kernels(w).make_linear_weight(mixed, DType::f32), Error);
  EXPECT_THROW(kernels(w).make_linear_weight(std::vector{quantized(w, nf4)}, DType::f16), Error);
}

double bound(DType dtype) { return dtype == DType::bf16 ? 6e-3 : 2e-6; }

struct Case {
  std::int64_t tokens, in;
  std::vector<std::int64_t> outs;
};
const std::vector<Case> cases = {{1, 64, {64}},    {1, 1, {1}},        {3, 70, {33, 5}},  {8, 192, {40, 20, 20}},
                                 {9, 64, {64}},    {17, 130, {129}},   {33, 65, {7, 30}}, {65, 256, {192, 64, 64}},
                                 {130, 96, {300}}, {12, 320, {2, 31}}, {300, 63, {130}},  {1, 577, {40, 25}},
                                 {2, 1536, {70}}};

using Parameters = std::tuple<DType, std::size_t>;
class QuantizedWeightTest : public ::testing::TestWithParam<Parameters> {
 protected:
  LinearWeightPtr weight_of(const Case& c) const {
    std::vector<QuantizedTensor> parts;
    for (const std::int64_t out : c.outs) {
      parts.push_back(quantized(random_tensor({out, c.in}, DType::f32, parts.size() + 5, 0.05), how_));
    }
    return kernels(tested_device()).make_linear_weight(parts, dtype_);
  }

  DType dtype_ = std::get<0>(GetParam());
  Quantization how_ = every_way[std::get<1>(GetParam())];
};

TEST_P(QuantizedWeightTest, ForwardIsTheProductWithThePlainWeight) {
  on_every_stream([&] {
    for (const Case& c : cases) {
      SCOPED_TRACE(fmt::format("{} tokens, {} inputs, {} parts", c.tokens, c.in, c.outs.size()));
      const LinearWeightPtr w = weight_of(c);
      const Tensor x = random_tensor({c.tokens, c.in + 4}, dtype_, 1).slice(1, 2, 2 + c.in);
      const Values product = reference_product(values_of(x), reference_transpose(values_of(w->plain()), w->out, w->in),
                                               c.tokens, c.in, w->out);
      const Tensor all = Tensor::full({c.tokens, w->out + 3}, dtype_, 7.0, tested_device()),
                   y = all.slice(1, 1, 1 + w->out);
      kernels(x).linear(x, *w, Tensor(), Activation::none, y);
      EXPECT_CLOSE(y, product, bound(dtype_));
      kernels(x).linear(x, *w, Tensor(), Activation::none, y, true);
      EXPECT_CLOSE(y, reference_sum(product, product), bound(dtype_));
      EXPECT_EQ(values_of(all.slice(1, 0, 1)), Values(static_cast<std::size_t>(c.tokens), 7.0));

      for (const DType type : {DType::f32, dtype_}) {
        const Tensor bias = random_tensor({w->out}, type, 3);
        Values expected = product;
        const Values b = values_of(bias);
        for (std::size_t i = 0; i < expected.size(); ++i) {
          expected[i] = reference_activation(Activation::quick_gelu, expected[i] + b[i % b.size()]);
        }
        const Tensor wide = Tensor::empty({c.tokens, w->out}, dtype_, tested_device());
        kernels(x).linear(x, *w, bias, Activation::quick_gelu, wide);
        EXPECT_CLOSE(wide, expected, bound(dtype_));
      }
      // To f32, where at most the weights are rounded: to bf16 for oneDNN, not at all elsewhere.
      const Tensor wide = Tensor::empty({c.tokens, w->out}, DType::f32, tested_device());
      kernels(x).linear(x, *w, Tensor(), Activation::none, wide);
      EXPECT_CLOSE(wide, product, dtype_ == DType::bf16 ? 2.5e-3 : 2e-6);
    }
  });
}

TEST_P(QuantizedWeightTest, InputGradientUsesTheSameCopy) {
  on_every_stream([&] {
    for (const Case& c : cases) {
      SCOPED_TRACE(fmt::format("{} tokens, {} inputs, {} parts", c.tokens, c.in, c.outs.size()));
      const LinearWeightPtr w = weight_of(c);
      const Tensor dy = random_tensor({c.tokens, w->out + 2}, dtype_, 1).slice(1, 1, 1 + w->out);
      const Values product = reference_product(values_of(dy), values_of(w->plain()), c.tokens, w->out, c.in);
      const Tensor dx = Tensor::empty({c.tokens, c.in}, dtype_, tested_device());
      kernels(dy).linear_input_gradient(dy, *w, dx);
      EXPECT_CLOSE(dx, product, bound(dtype_));
      kernels(dy).linear_input_gradient(dy, *w, dx, true);
      EXPECT_CLOSE(dx, reference_sum(product, product), bound(dtype_));
    }
  });
}

TEST_P(QuantizedWeightTest, SameBitsForAnyNumberOfThreads) {
  if (tested_device().kind() != DeviceKind::cpu) GTEST_SKIP() << "OpenMP's threads are the CPU's";
  const int before = omp_get_max_threads();
  for (const Case& c : {Case{64, 576, {576, 192, 192}}, {3, 1536, {576}}, {1100, 64, {200}}}) {
    const LinearWeightPtr w = weight_of(c);
    const Tensor x = random_tensor({c.tokens, c.in}, dtype_, 1), dy = random_tensor({c.tokens, w->out}, dtype_, 2);
    std::vector<std::vector<Values>> results;
    for (const int threads : {1, 2, 3}) {
      omp_set_num_threads(threads);
      const Tensor y = dy.empty_like(), dx = x.empty_like();
      kernels(x).linear(x, *w, Tensor(), Activation::silu, y);
      kernels(x).linear_input_gradient(dy, *w, dx);
      results.push_back({values_of(y), values_of(dx)});
    }
    EXPECT_EQ(results[0], results[1]);
    EXPECT_EQ(results[0], results[2]);
  }
  omp_set_num_threads(before);
}

TEST_P(QuantizedWeightTest, IsNowhereWhole) {
  const int threads = omp_get_max_threads();
  omp_set_num_threads(1);  // each keeps a panel of its own
  const Case c{16, 512, {8192}};
  const LinearWeightPtr w = weight_of(c);
  const Tensor x = random_tensor({16, 512}, dtype_, 1), y = Tensor::empty({16, 8192}, dtype_, tested_device());
  CachingAllocator& memory = tested_device().allocator();
  memory.reset_peak();
  const std::size_t before = memory.total().current;
  kernels(x).linear(x, *w, Tensor(), Activation::none, y);
  kernels(x).linear_input_gradient(y, *w, x);
  const std::size_t plain = static_cast<std::size_t>(w->out * w->in) * size_of(dtype_);
  EXPECT_LT(memory.total().peak - before, plain / 2);
  omp_set_num_threads(threads);
  const double bits = 8.0 * static_cast<double>(w->bytes()) / static_cast<double>(w->out * w->in);
  EXPECT_LT(bits, how_ == int8 ? 8.1 : how_ == nf4 ? 4.51 : 4.14);
}

TEST_P(QuantizedWeightTest, NoTokensAndDeferredWork) {
  const Case c{0, 64, {64}};
  LinearWeightPtr w = weight_of(c);
  const Tensor none = Tensor::empty({0, 64}, dtype_, tested_device());
  kernels(none).linear(none, *w, Tensor(), Activation::none, none);
  kernels(none).linear_input_gradient(none, *w, none);

  const Tensor x = random_tensor({12, 64}, dtype_, 1), plain = w->plain();
  const Values product = reference_product(values_of(x), values_of(plain), 12, 64, 64);
  const auto stream = deferred_stream();
  const StreamScope scope(*stream);
  const Tensor dx = Tensor::empty({12, 64}, dtype_, tested_device());
  kernels(x).linear_input_gradient(x, *w, dx);
  w.reset();
  EXPECT_CLOSE(dx, product, bound(dtype_));
}

std::string name_of_parameters(const ::testing::TestParamInfo<Parameters>& info) {
  constexpr const char* ways[] = {"int8", "nf4", "double_nf4"};
  return fmt::format("{}_{}", name_of(std::get<0>(info.param)), ways[std::get<1>(info.param)]);
}

INSTANTIATE_TEST_SUITE_P(All, QuantizedWeightTest,
                         ::testing::Combine(::testing::Values(DType::f32, DType::bf16),
                                            ::testing::Values(std::size_t{0}, std::size_t{1}, std::size_t{2})),
                         name_of_parameters);

}  // namespace
}  // namespace skymm::testing
