// Products with weights in few bits against double precision, and dequantisation against the CPU's.
#include "ops/kernels/cuda/quantized.hpp"

#include "core/error.hpp"
#include "ops/reference/reference_matrix.hpp"

namespace skymm::testing {
namespace {

constexpr Quantization every_way[] = {{QuantizedFormat::int8}, {QuantizedFormat::nf4}, {QuantizedFormat::nf4, true}};

struct Case {
  std::int64_t tokens, in;
  std::vector<std::int64_t> outs;
};
// Parts of odd sizes and more of them than one launch takes; codes that are words and that are not.
const std::vector<Case> cases = {{1, 1, {1}}, {3, 70, {33, 5}}, {17, 130, {1, 66, 2, 3, 5, 64}}, {66, 192, {70, 64}}};

QuantizedTensor on_cpu(const QuantizedTensor& x) {
  const auto copy = [](const Tensor& of) { return of.defined() ? of.to(cpu()) : Tensor(); };
  return {x.format, x.shape, copy(x.codes), copy(x.scales), copy(x.scale_steps), copy(x.scale_offset)};
}

using Parameters = std::tuple<DType, std::size_t, cuda::TileSize>;
class CudaQuantizedTest : public ::testing::TestWithParam<Parameters> {
 protected:
  std::vector<QuantizedTensor> parts_of(const Case& c) const {
    std::vector<QuantizedTensor> parts;
    for (const std::int64_t out : c.outs) {
      const Tensor plain = random_tensor({out, c.in}, DType::f32, parts.size() + 5, 0.05);
      parts.push_back(QuantizedTensor::empty(plain.shape(), every_way[std::get<1>(GetParam())], tested_device()));
      kernels(tested_device()).quantize(plain, parts.back());
    }
    return parts;
  }

  // [out, in], as the CPU dequantises to the type that products compute in.
  Tensor plain_weight(const std::vector<QuantizedTensor>& parts) const {
    std::vector<QuantizedTensor> copies;
    for (const QuantizedTensor& part : parts) copies.push_back(on_cpu(part));
    return kernels(cpu()).make_linear_weight(copies, dtype_)->plain();
  }

  DType dtype_ = std::get<0>(GetParam());
  cuda::TileSize tiles_ = std::get<2>(GetParam());
  double bound_ = dtype_ == DType::bf16 ? 6e-3 : 2e-6;
};

TEST_P(CudaQuantizedTest, ProductsAreThoseWithThePlainWeight) {
  for (const Case& c : cases) {
    SCOPED_TRACE(fmt::format("{} tokens, {} inputs, {} parts", c.tokens, c.in, c.outs.size()));
    const std::vector<QuantizedTensor> parts = parts_of(c);
    const Tensor plain = plain_weight(parts);
    const std::int64_t out = plain.dim(0);
    const Values w = values_of(plain);

    const Tensor x = random_tensor({c.tokens, c.in + 4}, dtype_, 1).slice(1, 2, 2 + c.in);
    const Tensor bias = random_tensor({out}, dtype_, 3),
                 y = Tensor::full({c.tokens, out}, dtype_, 7.0, tested_device());
    Values expected = reference_product(values_of(x), reference_transpose(w, out, c.in), c.tokens, c.in, out);
    const Values of_bias = values_of(bias);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      expected[i] = reference_activation(Activation::silu, expected[i] + of_bias[i % of_bias.size()]);
    }
    cuda::multiply_quantized(matrix_of(x, "test", "x"), parts, matrix_of(y, "test", "y"),
                             epilogue_of(bias, Activation::silu, false), current_stream(tested_device()), tiles_);
    EXPECT_CLOSE(y, expected, bound_);

    const Tensor dy = random_tensor({c.tokens, out + 3}, dtype_, 2).slice(1, 1, 1 + out);
    const Tensor dx = random_tensor({c.tokens, c.in}, dtype_, 4);
    const Values product = reference_product(values_of(dy), w, c.tokens, out, c.in),
                 sum = reference_sum(values_of(dx), product);
    const Matrix left = matrix_of(dy, "test", "dy"), to = matrix_of(dx, "test", "dx");
    cuda::multiply_quantized_transposed(left, parts, to, true, current_stream(tested_device()), tiles_);
    EXPECT_CLOSE(dx, sum, bound_);
    cuda::multiply_quantized_transposed(left, parts, to, false, current_stream(tested_device()), tiles_);
    EXPECT_CLOSE(dx, product, bound_);
  }
}

TEST_P(CudaQuantizedTest, DequantisesAsTheCpu) {
  for (const Case& c : cases) {
    for (const QuantizedTensor& x : parts_of(c)) {
      const Tensor expected = Tensor::empty(x.shape, dtype_),
                   got = Tensor::full({x.rows(), c.in + 1}, dtype_, 7.0, tested_device());
      kernels(cpu()).dequantize(on_cpu(x), expected);
      kernels(got).dequantize(x, got.slice(1, 0, c.in));
      EXPECT_CLOSE(got.slice(1, 0, c.in), values_of(expected), dtype_ == DType::bf16 ? 1e-3 : 1e-7);
      EXPECT_EQ(values_of(got.slice(1, c.in, c.in + 1)), Values(static_cast<std::size_t>(x.rows()), 7.0));
    }
  }
}

std::string name_of_parameters(const ::testing::TestParamInfo<Parameters>& info) {
  constexpr const char* ways[] = {"int8", "nf4", "double_nf4"};
  constexpr const char* sizes[] = {"automatic", "flat", "small", "large"};
  const auto [dtype, way, tiles] = info.param;
  return fmt::format("{}_{}_{}", name_of(dtype), ways[way], sizes[static_cast<int>(tiles)]);
}

INSTANTIATE_TEST_SUITE_P(All, CudaQuantizedTest,
                         ::testing::Combine(::testing::Values(DType::f32, DType::bf16),
                                            ::testing::Values(std::size_t{0}, std::size_t{1}, std::size_t{2}),
                                            ::testing::Values(cuda::TileSize::flat, cuda::TileSize::small,
                                                              cuda::TileSize::large)),
                         name_of_parameters);

}  // namespace
}  // namespace skymm::testing
