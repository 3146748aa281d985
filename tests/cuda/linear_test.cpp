// The backend's products and attention by the interface that layers call: shapes and devices are checked, work is
// enqueued on the device's stream, and outlives the tensors that it was given.
#include "core/error.hpp"
#include "cuda/cuda_device.hpp"
#include "ops/reference/reference_matrix.hpp"

namespace skymm::testing {
namespace {

double bound(DType dtype) { return dtype == DType::bf16 ? 6e-3 : 2e-6; }

class CudaLinearTest : public ::testing::TestWithParam<DType> {};

TEST_P(CudaLinearTest, ForwardAndBothGradients) {
  const std::int64_t tokens = 19, in = 70, out = 33;
  for (const Packing packing : {Packing::none, Packing::both}) {
    const Tensor x = random_on_cuda({tokens, in}, GetParam(), 1), dy = random_on_cuda({tokens, out}, GetParam(), 2);
    const Tensor w = random_on_cuda({out, in + 2}, GetParam(), 3).slice(1, 1, 1 + in);
    const LinearWeightPtr weight = kernels(x).make_linear_weight(w, packing);
    EXPECT_EQ(values_of(weight->plain()), values_of(w));
    const Tensor y = full_on_cuda({tokens, out}, GetParam(), 9.0), dx = random_on_cuda({tokens, in}, GetParam(), 4);
    const Tensor dw = random_on_cuda({out, in}, DType::f32, 5);
    const Values forward = reference_product(values_of(x), reference_transpose(values_of(w), out, in), tokens, in, out);
    const Values input = reference_sum(values_of(dx), reference_product(values_of(dy), values_of(w), tokens, out, in));
    const Values of_weight = reference_sum(
        values_of(dw),
        reference_product(reference_transpose(values_of(dy), tokens, out), values_of(x), out, tokens, in), 0.5);
    kernels(x).linear(x, *weight, Tensor(), Activation::none, y);
    kernels(x).linear_input_gradient(dy, *weight, dx, true);
    kernels(x).linear_weight_gradient(dy, x, dw, 0.5F);
    EXPECT_CLOSE(y, forward, bound(GetParam()));
    EXPECT_CLOSE(dx, input, bound(GetParam()));
    EXPECT_CLOSE(dw, of_weight, 2e-6);
  }
}

TEST_P(CudaLinearTest, WorkOutlivesTheWeight) {
  const Tensor x = random_on_cuda({5, 33}, GetParam(), 1), w = random_on_cuda({65, 33}, GetParam(), 2);
  const Tensor y = full_on_cuda({5, 65}, GetParam(), 9.0);
  {
    const LinearWeightPtr weight = kernels(x).make_linear_weight(w.clone(), Packing::forward);
    kernels(x).linear(x, *weight, Tensor(), Activation::none, y);
  }
  full_on_cuda({65, 33}, GetParam(), 7.0);  // takes the weight's memory, and writes it later
  EXPECT_CLOSE(y, reference_product(values_of(x), reference_transpose(values_of(w), 65, 33), 5, 33, 65),
               bound(GetParam()));
}

TEST_P(CudaLinearTest, GemmTransposesAndAccumulates) {
  const Tensor a = random_on_cuda({2, 9, 17}, GetParam(), 1), b = random_on_cuda({2, 20, 9}, GetParam(), 2);
  const Tensor c = random_on_cuda({2, 17, 20}, GetParam(), 3);
  Values expected = values_of(c);
  for (std::int64_t i = 0; i < 2; ++i) {
    const Values part = reference_product(reference_transpose(values_of(a.slice(0, i, i + 1)), 9, 17),
                                          reference_transpose(values_of(b.slice(0, i, i + 1)), 20, 9), 17, 9, 20);
    for (std::size_t j = 0; j < part.size(); ++j) expected[static_cast<std::size_t>(i) * part.size() + j] -= part[j];
  }
  kernels(a).gemm(a, b, c, {.transpose_a = true, .transpose_b = true, .accumulate = true, .alpha = -1.0F});
  EXPECT_CLOSE(c, expected, bound(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(DTypes, CudaLinearTest, ::testing::Values(DType::f32, DType::bf16),
                         [](const auto& info) { return std::string(name_of(info.param)); });

TEST(CudaLinearErrors, TensorsOfTwoDevicesAndTooWideHeads) {
  const Tensor x = full_on_cuda({3, 4}, DType::f32, 1.0), on_cpu = Tensor::zeros({4, 4}, DType::f32);
  EXPECT_THROW(kernels(x).gemm(x, on_cpu, full_on_cuda({3, 4}, DType::f32, 0.0)), Error);
  EXPECT_THROW(kernels(x).linear(x, *kernels(cpu()).make_linear_weight(on_cpu, Packing::none), Tensor(),
                                 Activation::none, full_on_cuda({3, 4}, DType::f32, 0.0)),
               Error);
  const Tensor q = full_on_cuda({2, 1, 300}, DType::f32, 1.0), logsumexp = full_on_cuda({2, 1}, DType::f32, 0.0);
  AttentionShape shape;
  shape.query_offsets = shape.key_offsets = Tensor::from(std::vector<std::int32_t>{0, 2}, {2}, cuda_device());
  shape.max_queries = shape.max_keys = 2;
  EXPECT_THROW(kernels(q).attention(q, q, q, shape, q.empty_like(), logsumexp), Error);
}

}  // namespace
}  // namespace skymm::testing
