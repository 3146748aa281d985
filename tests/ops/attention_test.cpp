#include <omp.h>

#include "core/error.hpp"
#include "ops/kernels/kernels.hpp"
#include "ops/reference/reference_attention.hpp"

namespace skymm::testing {
namespace {

Tensor offsets(const std::vector<std::int64_t>& lengths) {
  std::vector<std::int32_t> at{0};
  for (const std::int64_t n : lengths) at.push_back(at.back() + static_cast<std::int32_t>(n));
  return Tensor::from(at, {static_cast<std::int64_t>(at.size())}, tested_device());
}

AttentionShape shape_of(const ReferenceAttention& r) {
  AttentionShape shape{offsets(r.queries), offsets(r.keys), 0, 0, r.causal, static_cast<float>(r.scale)};
  shape.max_queries = *std::max_element(r.queries.begin(), r.queries.end());
  shape.max_keys = *std::max_element(r.keys.begin(), r.keys.end());
  return shape;
}

// q, k and v, each alone or all as column slices of one wide tensor (where they have the same tokens).
struct Inputs {
  Tensor q, k, v;
};

Inputs inputs_of(const ReferenceAttention& r, DType dtype, bool slices) {
  const std::int64_t tq = r.query_tokens(), tk = r.key_tokens(), wide = r.heads + 2 * r.kv_heads;
  if (slices) {
    const Tensor all = random_tensor({tq, wide * r.width}, dtype, 5).split_last(wide, r.width);
    return {all.slice(1, 0, r.heads), all.slice(1, r.heads, r.heads + r.kv_heads),
            all.slice(1, r.heads + r.kv_heads, wide)};
  }
  return {random_tensor({tq, r.heads, r.width}, dtype, 1), random_tensor({tk, r.kv_heads, r.width}, dtype, 2),
          random_tensor({tk, r.kv_heads, r.width}, dtype, 3)};
}

void expect_equal(const ReferenceAttention& r, DType dtype, bool slices) {
  const double bound = dtype == DType::bf16 ? 8e-3 : 4e-6;
  const Inputs x = inputs_of(r, dtype, slices);
  const AttentionShape shape = shape_of(r);
  const Tensor out = Tensor::full({r.query_tokens(), r.heads, r.width}, dtype, 9.0, tested_device());
  const Tensor logsumexp = Tensor::full({r.query_tokens(), r.heads}, DType::f32, 9.0, tested_device());
  kernels(tested_device()).attention(x.q, x.k, x.v, shape, out, logsumexp);
  const Values q = values_of(x.q), k = values_of(x.k), v = values_of(x.v);
  Values expected_logsumexp;
  const Values expected = r.forward(q, k, v, &expected_logsumexp);
  EXPECT_CLOSE(out, expected, bound);
  const Values got = values_of(logsumexp);
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (std::isfinite(expected_logsumexp[i])) {
      EXPECT_NEAR(got[i], expected_logsumexp[i], 1e-5 * (1 + std::abs(expected_logsumexp[i])));
    } else {
      EXPECT_EQ(got[i], expected_logsumexp[i]);
    }
  }

  const Tensor dout = random_tensor({r.query_tokens(), r.heads, r.width}, dtype, 4);
  Inputs d = inputs_of(r, dtype, slices);
  for (const Tensor& x : {d.q, d.k, d.v}) x.fill(9.0);
  kernels(tested_device()).attention_gradient(dout, x.q, x.k, x.v, out, logsumexp, shape, d.q, d.k, d.v);
  const auto gradients = r.backward(values_of(dout), q, k, v);
  EXPECT_CLOSE(d.q, gradients.dq, bound);
  EXPECT_CLOSE(d.k, gradients.dk, bound);
  EXPECT_CLOSE(d.v, gradients.dv, bound);
}

ReferenceAttention reference(std::vector<std::int64_t> queries, std::vector<std::int64_t> keys, std::int64_t heads,
                             std::int64_t kv_heads, std::int64_t width, bool causal) {
  return {
      std::move(queries), std::move(keys), heads, kv_heads, width, causal, 1 / std::sqrt(static_cast<double>(width))};
}

class AttentionTest : public ::testing::TestWithParam<DType> {};

TEST_P(AttentionTest, SelfAttentionOfEveryLengthAndWidth) {
  on_every_stream([] {
    for (const bool causal : {false, true}) {
      for (const std::int64_t n : {1, 3, 17, 33, 65, 129, 200}) {
        SCOPED_TRACE(fmt::format("{} tokens, causal {}", n, causal));
        expect_equal(reference({n}, {n}, 3, 3, 24, causal), GetParam(), false);
        expect_equal(reference({n}, {n}, 6, 2, 16, causal), GetParam(), true);
      }
      for (const std::int64_t width : {1, 7, 16, 24, 32, 64, 80, 128}) {
        SCOPED_TRACE(fmt::format("width {}, causal {}", width, causal));
        expect_equal(reference({70}, {70}, 2, 1, width, causal), GetParam(), true);
      }
    }
  });
}

TEST_P(AttentionTest, SequencesDoNotSeeEachOther) {
  on_every_stream([] {
    for (const bool causal : {false, true}) {
      const std::vector<std::int64_t> lengths{0, 1, 37, 0, 130, 2, 65};
      expect_equal(reference(lengths, lengths, 4, 2, 32, causal), GetParam(), true);
      expect_equal(reference(lengths, lengths, 9, 3, 64, causal), GetParam(), false);
    }
  });
}

TEST_P(AttentionTest, CrossAttentionAlignsTheMaskAtTheEnd) {
  on_every_stream([] {
    for (const bool causal : {false, true}) {
      // more keys, no keys, no queries, fewer keys than queries (causal: the first see none), one query of a cache
      expect_equal(reference({16, 3, 0, 20, 1}, {70, 0, 5, 9, 150}, 4, 2, 16, causal), GetParam(), false);
    }
  });
}

TEST_P(AttentionTest, FewQueriesOfLongCaches) {
  on_every_stream([] {
    for (const std::int64_t width : {16, 24, 64, 80, 128}) {
      for (const auto& [heads, kv_heads] : std::vector<std::pair<int, int>>{{9, 3}, {8, 8}, {8, 1}, {5, 1}}) {
        SCOPED_TRACE(fmt::format("width {}, {} heads of {}", width, heads, kv_heads));
        expect_equal(reference({1, 1, 2, 1}, {150, 1, 37, 300}, heads, kv_heads, width, true), GetParam(), false);
      }
    }
  });
}

TEST_P(AttentionTest, ManyQueryHeadsShareAKeyHead) {
  expect_equal(reference({5}, {5}, 130, 1, 16, true), GetParam(), false);
}

TEST_P(AttentionTest, SameBitsForAnyNumberOfThreads) {
  if (tested_device().kind() != DeviceKind::cpu) GTEST_SKIP() << "OpenMP's threads are the CPU's";
  const int before = omp_get_max_threads();
  const ReferenceAttention r = reference({300, 40}, {300, 40}, 4, 2, 32, true);
  const Inputs x = inputs_of(r, GetParam(), true);
  const Tensor dout = random_tensor(x.q.shape(), GetParam(), 4);
  std::vector<std::vector<Values>> results;
  for (const int threads : {1, 2, 3}) {
    omp_set_num_threads(threads);
    const Tensor out = dout.empty_like(), dq = dout.empty_like(), dk = x.k.clone(), dv = x.v.clone();
    const Tensor logsumexp = Tensor::empty({r.query_tokens(), r.heads}, DType::f32, tested_device());
    kernels(out).attention(x.q, x.k, x.v, shape_of(r), out, logsumexp);
    kernels(out).attention_gradient(dout, x.q, x.k, x.v, out, logsumexp, shape_of(r), dq, dk, dv);
    results.push_back({values_of(out), values_of(logsumexp), values_of(dq), values_of(dk), values_of(dv)});
  }
  omp_set_num_threads(before);
  EXPECT_EQ(results[0], results[1]);
  EXPECT_EQ(results[0], results[2]);
}

TEST_P(AttentionTest, LargeScoresDoNotOverflowAndNaNIsNotHidden) {
  const ReferenceAttention r = reference({40}, {40}, 1, 1, 16, false);
  Inputs x = inputs_of(r, GetParam(), false);
  x.q.copy_from(random_tensor(x.q.shape(), GetParam(), 8, 100.0));
  const Tensor out = x.q.empty_like(), logsumexp = Tensor::empty({40, 1}, DType::f32, tested_device());
  kernels(out).attention(x.q, x.k, x.v, shape_of(r), out, logsumexp);
  EXPECT_CLOSE(out, r.forward(values_of(x.q), values_of(x.k), values_of(x.v)), GetParam() == DType::bf16 ? 1e-2 : 1e-4);
  x.k.slice(0, 7, 8).fill(std::numeric_limits<double>::quiet_NaN());
  kernels(out).attention(x.q, x.k, x.v, shape_of(r), out, logsumexp);
  EXPECT_TRUE(std::isnan(values_of(out)[0]));
}

INSTANTIATE_TEST_SUITE_P(DTypes, AttentionTest, ::testing::Values(DType::f32, DType::bf16),
                         [](const auto& info) { return std::string(name_of(info.param)); });

TEST(AttentionReference, GradientIsThatOfTheForward) {
  const ReferenceAttention r = reference({4, 3}, {5, 2}, 4, 2, 3, true);
  const auto values = [](const Shape& shape, std::uint64_t seed) {
    return values_of(random_tensor(shape, DType::f32, seed));
  };
  const Values q = values({7, 4, 3}, 1), k = values({7, 2, 3}, 2), v = values({7, 2, 3}, 3),
               dout = values({7, 4, 3}, 4);
  const auto g = r.backward(dout, q, k, v);
  const auto of_q = [&](const Values& x) { return r.forward(x, k, v); };
  const auto of_k = [&](const Values& x) { return r.forward(q, x, v); };
  const auto of_v = [&](const Values& x) { return r.forward(q, k, x); };
  EXPECT_LE(relative_error(g.dq, finite_difference_gradient(of_q, q, dout)), 1e-7);
  EXPECT_LE(relative_error(g.dk, finite_difference_gradient(of_k, k, dout)), 1e-7);
  EXPECT_LE(relative_error(g.dv, finite_difference_gradient(of_v, v, dout)), 1e-7);
}

TEST(AttentionErrors, SayWhatDoesNotFit) {
  const ReferenceAttention r = reference({4}, {4}, 4, 2, 8, false);
  const Inputs x = inputs_of(r, DType::f32, false);
  const Tensor out = x.q.empty_like(), logsumexp = Tensor::empty({4, 4}, DType::f32, tested_device());
  Kernels& k = kernels(tested_device());
  EXPECT_THROW(k.attention(x.q, x.k, x.v, shape_of(r), out, Tensor::empty({4}, DType::f32, tested_device())), Error);
  EXPECT_THROW(k.attention(x.q, x.k.slice(1, 0, 1), x.v, shape_of(r), out, logsumexp), Error);
  EXPECT_THROW(k.attention(x.q.to(DType::bf16), x.k, x.v, shape_of(r), out, logsumexp), Error);
  if (tested_device().kind() != DeviceKind::cpu) return;  // offsets are there, where no error can be thrown
  AttentionShape wrong = shape_of(r);
  wrong.query_offsets = offsets({5});
  EXPECT_THROW(k.attention(x.q, x.k, x.v, wrong, out, logsumexp), Error);
}

}  // namespace
}  // namespace skymm::testing
