// The attention kernels against double precision: every compiled width and wider ones, tiles and parts of them.
#include "ops/kernels/cuda/attention.hpp"

#include "core/error.hpp"
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

ReferenceAttention reference(std::vector<std::int64_t> queries, std::vector<std::int64_t> keys, std::int64_t heads,
                             std::int64_t kv_heads, std::int64_t width, bool causal) {
  return {
      std::move(queries), std::move(keys), heads, kv_heads, width, causal, 1 / std::sqrt(static_cast<double>(width))};
}

// q, k and v: column slices of wide tensors, at places that are multiples of eight or odd ones.
struct Inputs {
  Tensor q, k, v;
};
Inputs inputs_of(const ReferenceAttention& r, DType dtype, std::int64_t begin) {
  const auto part = [&](std::int64_t tokens, std::int64_t heads, std::uint64_t seed) {
    const std::int64_t columns = heads * r.width, step = (begin + columns + 15) / 8 * 8 + begin % 8;
    return random_tensor({tokens, step}, dtype, seed).slice(1, begin, begin + columns).split_last(heads, r.width);
  };
  return {part(r.query_tokens(), r.heads, 1), part(r.key_tokens(), r.kv_heads, 2), part(r.key_tokens(), r.kv_heads, 3)};
}

void attend(const AttentionProblem& problem, const AttentionShape& shape, const Tensor& q, const Tensor& k) {
  const auto arguments = cuda::attention_arguments(problem, shape, k.dim(1));
  const cuda::KeySplit split = cuda::split_keys(arguments, q.dim(0));
  const Tensor workspace =
      Tensor::full({split.workspace()}, DType::f32, std::numeric_limits<double>::quiet_NaN(), tested_device());
  cuda::attention(arguments, split, workspace.data<float>(), current_stream(tested_device()));
}

void expect_logsumexp(const Tensor& logsumexp, const Values& expected) {
  const Values got = values_of(logsumexp);
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (std::isfinite(expected[i])) {
      EXPECT_NEAR(got[i], expected[i], 1e-5 * (1 + std::abs(expected[i])));
    } else {
      EXPECT_EQ(got[i], expected[i]);
    }
  }
}

void expect_equal(const ReferenceAttention& r, DType dtype, std::int64_t begin) {
  const double bound = dtype == DType::bf16 ? 8e-3 : 4e-6;
  const Inputs x = inputs_of(r, dtype, begin), d = inputs_of(r, dtype, begin);
  const AttentionShape shape = shape_of(r);
  const Tensor out = Tensor::full({r.query_tokens(), r.heads, r.width}, dtype, 9.0, tested_device());
  const Tensor logsumexp = Tensor::full({r.query_tokens(), r.heads}, DType::f32, 9.0, tested_device());
  const AttentionProblem forward = attention_problem("test", x.q, x.k, x.v, shape, out, logsumexp);
  attend(forward, shape, x.q, x.k);
  const Values q = values_of(x.q), k = values_of(x.k), v = values_of(x.v);
  Values expected_logsumexp;
  EXPECT_CLOSE(out, r.forward(q, k, v, &expected_logsumexp), bound);
  expect_logsumexp(logsumexp, expected_logsumexp);

  const Tensor dout = random_tensor({r.query_tokens(), r.heads, r.width}, dtype, 4);
  for (const Tensor& t : {d.q, d.k, d.v}) t.fill(9.0);
  const AttentionProblem backward =
      attention_gradient_problem(dout, x.q, x.k, x.v, out, logsumexp, shape, d.q, d.k, d.v);
  const Tensor delta = Tensor::full(logsumexp.shape(), DType::f32, 9.0, tested_device());
  cuda::attention_gradient(cuda::attention_arguments(backward, shape, r.kv_heads), r.query_tokens(),
                           delta.data<float>(), current_stream(tested_device()));
  const auto gradients = r.backward(values_of(dout), q, k, v);
  EXPECT_CLOSE(d.q, gradients.dq, bound);
  EXPECT_CLOSE(d.k, gradients.dk, bound);
  EXPECT_CLOSE(d.v, gradients.dv, bound);
}

class CudaAttentionTest : public ::testing::TestWithParam<DType> {};

TEST_P(CudaAttentionTest, EveryWidth) {
  std::vector<std::int64_t> widths{1, 7, 24, 32, 64, 80, 128, 160, 256};
  // In f32 these give one scalar kernel each a little less dynamic shared memory than 48 KiB, and static memory
  // besides.
  if (GetParam() == DType::f32) widths.insert(widths.end(), {84, 94, 124});
  for (const std::int64_t width : widths) {
    SCOPED_TRACE(width);
    expect_equal(reference({35}, {35}, 2, 2, width, true), GetParam(), width % 8 == 0 ? 8 : 1);
  }
}

TEST_P(CudaAttentionTest, SeveralTilesOfQueriesAndKeys) {
  for (const bool causal : {false, true}) {
    for (const std::int64_t n : {1, 3, 64, 65, 130}) {
      SCOPED_TRACE(fmt::format("{} tokens, causal {}", n, causal));
      expect_equal(reference({n}, {n}, 2, 1, 32, causal), GetParam(), n % 2);
    }
  }
  expect_equal(reference({70}, {70}, 3, 1, 72, true), GetParam(), 0);
}

TEST_P(CudaAttentionTest, SequencesOfEveryLengthAndGroupedQueries) {
  for (const bool causal : {false, true}) {
    const std::vector<std::int64_t> lengths{0, 1, 37, 0, 66};
    expect_equal(reference(lengths, lengths, 4, 2, 16, causal), GetParam(), 3);
    // More keys, no keys, no queries, fewer keys than queries (causal: the first see none), one query of a cache.
    expect_equal(reference({16, 3, 0, 20, 1}, {70, 0, 5, 9, 150}, 4, 2, 16, causal), GetParam(), 0);
  }
  expect_equal(reference({5}, {5}, 130, 1, 16, true), GetParam(), 0);
}

TEST_P(CudaAttentionTest, KeysAreSplitAmongBlocksWhereQueriesAreFew) {
  for (const bool causal : {false, true}) {  // parts that are full, in part and empty
    const ReferenceAttention r = reference({1, 2, 3}, {400, 2, 130}, 6, 2, 24, causal);
    const Inputs x = inputs_of(r, GetParam(), 0);
    const AttentionShape shape = shape_of(r);
    const Tensor out = Tensor::empty({6, 6, 24}, GetParam(), tested_device()),
                 logsumexp = Tensor::empty({6, 6}, DType::f32, tested_device());
    const auto problem = attention_problem("test", x.q, x.k, x.v, shape, out, logsumexp);
    EXPECT_EQ(cuda::split_keys(cuda::attention_arguments(problem, shape, 2), 6).parts,
              GetParam() == DType::bf16 ? 4 : 1);
    expect_equal(r, GetParam(), 0);
  }
}

TEST_P(CudaAttentionTest, KeysStillToComeAreNotSeen) {
  const ReferenceAttention r = reference({1, 3}, {70, 9}, 4, 2, 16, true);
  const std::vector<std::int64_t> room{80, 20};
  const Tensor q = random_tensor({4, 4, 16}, GetParam(), 1), k = random_tensor({79, 2, 16}, GetParam(), 2),
               v = random_tensor({79, 2, 16}, GetParam(), 3), out = q.empty_like(),
               logsumexp = Tensor::empty({4, 4}, DType::f32, tested_device());
  const auto with_room = [&](const Tensor& x) {  // the rest of a cache may hold anything
    const Tensor y = Tensor::full({100, 2, 16}, GetParam(), std::numeric_limits<double>::quiet_NaN(), tested_device());
    y.slice(0, 0, 70).copy_from(x.slice(0, 0, 70));
    y.slice(0, 80, 89).copy_from(x.slice(0, 70, 79));
    return y;
  };
  AttentionShape shape{offsets(r.queries), offsets(room), 3, 80, true, static_cast<float>(r.scale)};
  shape.key_lengths = Tensor::from(std::vector<std::int32_t>{70, 9}, {2}, tested_device());
  const Tensor keys = with_room(k), values = with_room(v);
  const AttentionProblem problem = attention_problem("test", q, keys, values, shape, out, logsumexp);
  attend(problem, shape, q, keys);
  EXPECT_CLOSE(out, r.forward(values_of(q), values_of(k), values_of(v)), GetParam() == DType::bf16 ? 8e-3 : 4e-6);
}

TEST_P(CudaAttentionTest, LargeScoresDoNotOverflowAndNaNIsNotHidden) {
  const ReferenceAttention r = reference({40}, {40}, 1, 1, 16, false);
  const Inputs x = inputs_of(r, GetParam(), 0);
  x.q.copy_from(random_tensor(x.q.shape(), GetParam(), 8, 100.0));
  const Tensor out = Tensor::empty(x.q.shape(), GetParam(), tested_device()),
               logsumexp = Tensor::empty({40, 1}, DType::f32, tested_device());
  const AttentionShape shape = shape_of(r);
  const auto run = [&] {
    const AttentionProblem problem = attention_problem("test", x.q, x.k, x.v, shape, out, logsumexp);
    attend(problem, shape, x.q, x.k);
  };
  run();
  EXPECT_CLOSE(out, r.forward(values_of(x.q), values_of(x.k), values_of(x.v)), GetParam() == DType::bf16 ? 1e-2 : 1e-4);
  x.k.slice(0, 7, 8).fill(std::numeric_limits<double>::quiet_NaN());
  run();
  EXPECT_TRUE(std::isnan(values_of(out)[0]));
}

INSTANTIATE_TEST_SUITE_P(DTypes, CudaAttentionTest, ::testing::Values(DType::f32, DType::bf16),
                         [](const auto& info) { return std::string(name_of(info.param)); });

TEST(CudaAttentionErrors, HeadsThatAreTooWide) {
  const ReferenceAttention r = reference({2}, {2}, 1, 1, 300, false);
  const Inputs x = inputs_of(r, DType::f32, 0);
  const Tensor logsumexp = Tensor::empty({2, 1}, DType::f32, tested_device());
  EXPECT_THROW(kernels(x.q).attention(x.q, x.k, x.v, shape_of(r), x.q.empty_like(), logsumexp), Error);
}

}  // namespace
}  // namespace skymm::testing
