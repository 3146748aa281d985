// What cuDNN computes, against double precision and against itself: on a GPU, in a build that has it. Elsewhere, that
// it is refused.
#include "ops/kernels/cuda/cudnn.hpp"

#include <cstdlib>
#include <numeric>

#include "core/error.hpp"
#include "ops/reference/reference_attention.hpp"

namespace skymm::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

TEST(Cudnn, IsRefusedWhereItCannotCompute) {
  EXPECT_THAT([] { use_cudnn({"attention"}, cpu()); }, ThrowsMessage<Error>(HasSubstr("the device is")));
  EXPECT_THAT([] { use_cudnn({"dropout"}, tested_device()); },
              ThrowsMessage<Error>(HasSubstr("give attention or patch_embedding")));
  EXPECT_NO_THROW(use_cudnn({}, cpu()));
  if (!tested_device().is_emulated()) return;
  EXPECT_THAT([] { use_cudnn({"attention"}, tested_device()); }, ThrowsMessage<Error>(HasSubstr("computes on GPUs")));
  EXPECT_THAT([] { cuda::set_cudnn({.patch_embedding = true}); },
              ThrowsMessage<Error>(HasSubstr("this build has no cuDNN")));
}

class CudnnOnGpu : public ::testing::Test {
 protected:
  void SetUp() override {
    if (tested_device().is_emulated()) GTEST_SKIP() << "the device is emulated";
    try {
      use_cudnn({"attention", "patch_embedding"}, tested_device());
    } catch (const Error& error) {
      constexpr int skipped = 77;
      fmt::print("skipped: {}\n", error.message());
      std::fflush(stdout);
      std::_Exit(skipped);
    }
  }
  void TearDown() override { use_cudnn({}, tested_device()); }
};

struct Case {
  std::int64_t sequences, queries, keys, heads, kv_heads, width;
  bool causal;
};
constexpr Case cases[] = {
    {2, 64, 64, 4, 4, 64, false},    // whole tiles
    {3, 577, 577, 2, 2, 64, false},  // a ViT: patches and a class token
    {2, 256, 256, 8, 2, 128, true},  // grouped queries
    {4, 33, 33, 3, 3, 24, false},    // a width between those of kernels
    {2, 129, 129, 6, 1, 80, true},   // one key head
    {2, 16, 577, 4, 4, 64, false},   // a resampler: few queries
    {2, 200, 40, 4, 2, 32, false},   // more queries than keys
};

Tensor offsets(std::int64_t sequences, std::int64_t length) {
  std::vector<std::int32_t> at;
  for (std::int64_t i = 0; i <= sequences; ++i) at.push_back(static_cast<std::int32_t>(i * length));
  return Tensor::from(at, {sequences + 1}, tested_device());
}

struct Attention {
  ReferenceAttention reference;
  AttentionShape shape;
  Tensor q, k, v, dout;  // q, k and v are column slices of wider rows
  Tensor out, logsumexp, dq, dk, dv;

  explicit Attention(const Case& c, DType dtype = DType::bf16)
      : reference{std::vector<std::int64_t>(static_cast<std::size_t>(c.sequences), c.queries),
                  std::vector<std::int64_t>(static_cast<std::size_t>(c.sequences), c.keys),
                  c.heads,
                  c.kv_heads,
                  c.width,
                  c.causal,
                  1 / std::sqrt(static_cast<double>(c.width))},
        shape{offsets(c.sequences, c.queries),    offsets(c.sequences, c.keys), c.queries, c.keys, c.causal,
              static_cast<float>(reference.scale)} {
    const auto columns = [&](std::int64_t tokens, std::int64_t heads, std::uint64_t seed) {
      return random_tensor({tokens, (heads + 2) * c.width}, dtype, seed)
          .split_last(heads + 2, c.width)
          .slice(1, 1, heads + 1);
    };
    const std::int64_t tq = reference.query_tokens(), tk = reference.key_tokens();
    q = columns(tq, c.heads, 1), k = columns(tk, c.kv_heads, 2), v = columns(tk, c.kv_heads, 3);
    dq = columns(tq, c.heads, 5), dk = columns(tk, c.kv_heads, 6), dv = columns(tk, c.kv_heads, 7);
    dout = random_tensor({tq, c.heads, c.width}, dtype, 4);
    out = Tensor::full(dout.shape(), dtype, 9, tested_device());
    logsumexp = Tensor::full({tq, c.heads}, DType::f32, 9, tested_device());
  }

  bool forward() { return cuda::attention_by_cudnn(q, k, v, shape, out, logsumexp); }
  bool backward() { return cuda::attention_gradient_by_cudnn(dout, q, k, v, out, logsumexp, shape, dq, dk, dv); }
  std::vector<Values> results() const {
    return {values_of(out), values_of(logsumexp), values_of(dq), values_of(dk), values_of(dv)};
  }
};

TEST_F(CudnnOnGpu, AttentionAndItsGradient) {
  constexpr double bound = 8e-3;  // as of skymm's own kernels
  for (const Case& c : cases) {
    SCOPED_TRACE(fmt::format("{} x {} queries, {} keys, {} heads of {}, width {}, causal {}", c.sequences, c.queries,
                             c.keys, c.heads, c.kv_heads, c.width, c.causal));
    Attention x(c);
    ASSERT_TRUE(x.forward());
    const Values q = values_of(x.q), k = values_of(x.k), v = values_of(x.v);
    Values expected_logsumexp;
    EXPECT_CLOSE(x.out, x.reference.forward(q, k, v, &expected_logsumexp), bound);
    EXPECT_CLOSE(x.logsumexp, expected_logsumexp, 1e-5);
    ASSERT_TRUE(x.backward());
    const auto gradients = x.reference.backward(values_of(x.dout), q, k, v);
    EXPECT_CLOSE(x.dq, gradients.dq, bound);
    EXPECT_CLOSE(x.dk, gradients.dk, bound);
    EXPECT_CLOSE(x.dv, gradients.dv, bound);
  }
}

TEST_F(CudnnOnGpu, AttentionHasTheSameBitsEachTime) {
  for (const Case& c : cases) {
    std::vector<std::vector<Values>> all;
    for (int i = 0; i < 3; ++i) {
      Attention x(c);
      ASSERT_TRUE(x.forward());
      ASSERT_TRUE(x.backward());
      all.push_back(x.results());
    }
    EXPECT_EQ(all[0], all[1]);
    EXPECT_EQ(all[0], all[2]);
  }
}

TEST_F(CudnnOnGpu, LeavesToOthersWhatItDoesNotTake) {
  const Case c{2, 64, 64, 4, 4, 64, true};
  std::vector<Attention> others(5, Attention(c));
  others[0] = Attention(c, DType::f32);
  others[1] = Attention({2, 16, 64, 4, 4, 64, true});  // causal, aligned at the end
  others[2] = Attention({2, 64, 64, 4, 4, 20, false});
  others[3].shape.query_offsets = others[3].shape.key_offsets =
      Tensor::from(std::vector<std::int32_t>{0, 28, 128}, {3}, tested_device());
  others[3].shape.max_queries = others[3].shape.max_keys = 100;
  others[4].shape.key_lengths = Tensor::from(std::vector<std::int32_t>{10, 20}, {2}, tested_device());
  for (Attention& x : others) {
    const auto before = x.results();
    EXPECT_FALSE(x.forward());
    EXPECT_FALSE(x.backward());
    EXPECT_EQ(x.results(), before);
  }
}

TEST_F(CudnnOnGpu, PatchEmbedding) {
  struct {
    std::int64_t images, side, patch, out;
  } constexpr sizes[] = {{2, 28, 14, 64}, {3, 224, 16, 96}, {1, 56, 14, 1024}};
  for (const auto& [images, side, patch, out] : sizes) {
    for (const bool with_bias : {false, true}) {
      SCOPED_TRACE(fmt::format("{} images of {}, patch {}, bias {}", images, side, patch, with_bias));
      const Tensor pixels = random_tensor({images, 3, side, side}, DType::bf16, 1);
      const Tensor weight = random_tensor({out, 3 * patch * patch}, DType::bf16, 2, 0.1);
      const Tensor bias = with_bias ? random_tensor({out}, DType::bf16, 3) : Tensor();
      const std::int64_t rows = images * (side / patch) * (side / patch);
      const Tensor patches = Tensor::empty({rows, weight.dim(1)}, DType::bf16, tested_device());
      const Tensor y = Tensor::full({rows, out}, DType::bf16, 9, tested_device()), z = y.clone();
      ASSERT_TRUE(cuda::patch_embedding_by_cudnn(pixels, patch, weight, bias, y));
      kernels(pixels).extract_patches(pixels, patch, patches);
      const Values x = values_of(patches), w = values_of(weight), b = with_bias ? values_of(bias) : Values();
      const auto depth = static_cast<std::size_t>(weight.dim(1)), width = static_cast<std::size_t>(out);
      Values expected(x.size() / depth * width);
      for (std::size_t i = 0; i < expected.size(); ++i) {
        const double* const row = &x[i / width * depth];
        const double* const column = &w[i % width * depth];
        expected[i] = std::inner_product(row, row + depth, column, with_bias ? b[i % width] : 0.0);
      }
      EXPECT_CLOSE(y, expected, tolerance(DType::bf16));
      ASSERT_TRUE(cuda::patch_embedding_by_cudnn(pixels, patch, weight, bias, z));
      EXPECT_EQ(values_of(y), values_of(z));
    }
  }
}

}  // namespace
}  // namespace skymm::testing
