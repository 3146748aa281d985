// The optimizer on a single rank, at every stage, and the pure parts of ZeRO.
#include "core/error.hpp"
#include "parallel/communicator.hpp"
#include "parallel/learning_rate.hpp"
#include "parallel/zero/buckets.hpp"
#include "parallel/zero/memory.hpp"
#include "parallel/zero/states.hpp"
#include "support/scattered_weights.hpp"

namespace skymm::testing {
namespace {

constexpr OptimizerOptions options{.weight_decay = 0.1F, .clip_norm = 3.0F};

// AdamW as published, in double, of all parameters together.
struct Reference {
  explicit Reference(const ScatteredWeights& weights) {
    for (const NamedParameter& entry : weights.all()) {
      master.push_back(values_of(entry.parameter->value));
      m.emplace_back(master.back().size());
      v.emplace_back(master.back().size());
    }
  }

  double step(ScatteredWeights& weights, int number, double rate, double tokens) {
    std::vector<Values> gradients;
    double squares = 0;
    for (int i = 0; i < weights.size(); ++i) {
      gradients.emplace_back(master[static_cast<std::size_t>(i)].size());
      for (int micro_batch = 0; micro_batch < 2; ++micro_batch) {
        const Tensor g = weights.gradient(i, number, 0, micro_batch);
        if (!g.defined()) continue;
        const Values values = values_of(g);
        for (std::size_t k = 0; k < values.size(); ++k) gradients.back()[k] += values[k] / tokens;
      }
      for (const double g : gradients.back()) squares += g * g;
    }
    const double norm = std::sqrt(squares), factor = norm > options.clip_norm ? options.clip_norm / norm : 1.0;
    for (std::size_t i = 0; i < master.size(); ++i) {
      const double decay = weights.parameter(static_cast<int>(i)).shape.rank() >= 2 ? options.weight_decay : 0;
      for (std::size_t k = 0; k < master[i].size(); ++k) {
        const double g = factor * gradients[i][k];
        m[i][k] = options.beta1 * m[i][k] + (1 - double{options.beta1}) * g;
        v[i][k] = options.beta2 * v[i][k] + (1 - double{options.beta2}) * g * g;
        const double first = m[i][k] / (1 - std::pow(double{options.beta1}, number + 1));
        const double second = v[i][k] / (1 - std::pow(double{options.beta2}, number + 1));
        master[i][k] -= rate * (first / (std::sqrt(second) + options.epsilon) + decay * master[i][k]);
      }
    }
    return norm;
  }

  std::vector<Values> master, m, v;
};

void gather_all(Optimizer& optimizer) {
  for (int chunk = 0; chunk < 2; ++chunk) optimizer.gather_weights(chunk);
  for (int chunk = 0; chunk < 2; ++chunk) optimizer.wait_weights(chunk);
}

class OptimizerOnOneRank : public ::testing::TestWithParam<int> {
 protected:
  ZeroOptions zero(std::int64_t bucket_bytes = 100) const {
    return {.stage = GetParam(), .bucket_bytes = bucket_bytes};
  }
  SingleCommunicator one_;
};
INSTANTIATE_TEST_SUITE_P(Stages, OptimizerOnOneRank, ::testing::Values(0, 1, 2, 3));

TEST_P(OptimizerOnOneRank, FollowsTheReference) {
  on_every_stream([this] {
    for (const double tokens : {1.0, 100.0}) {  // clipped, and not
      ScatteredWeights weights(DType::f32);
      Reference reference(weights);
      Optimizer optimizer(weights.chunks(), options, zero(), one_, one_);
      for (int step = 0; step < 5; ++step) {
        for (int micro_batch = 0; micro_batch < 2; ++micro_batch) {
          for (std::size_t chunk = 0; chunk < 2; ++chunk) {
            weights.add_gradients(chunk, step, 0, micro_batch);
            optimizer.reduce_gradients(static_cast<int>(chunk));
          }
        }
        const StepReport report = optimizer.step(0.01F, tokens);
        const double norm = reference.step(weights, step, 0.01F, tokens);
        EXPECT_NEAR(report.gradient_norm, norm, 1e-6 * norm);
        EXPECT_EQ(norm > options.clip_norm, tokens == 1.0);
      }
      gather_all(optimizer);
      for (int i = 0; i < weights.size(); ++i) {
        SCOPED_TRACE(weights.name(i));
        EXPECT_CLOSE(weights.parameter(i).value, reference.master[static_cast<std::size_t>(i)], 1e-6);
      }
    }
  });
}

TEST_P(OptimizerOnOneRank, SumsMicroBatchesByItselfWhereNobodyReducesThem) {
  ScatteredWeights by_hand(DType::f32), left(DType::f32);
  Optimizer reduces(by_hand.chunks(), options, zero(), one_, one_), sums(left.chunks(), options, zero(), one_, one_);
  for (std::size_t chunk = 0; chunk < 2; ++chunk) {
    by_hand.add_gradients(chunk, 0, 0, 0);
    left.add_gradients(chunk, 0, 0, 0);
    reduces.reduce_gradients(static_cast<int>(chunk));
  }
  EXPECT_EQ(reduces.step(0.01F, 1).gradient_norm, sums.step(0.01F, 1).gradient_norm);
  gather_all(reduces);
  gather_all(sums);
  for (int i = 0; i < left.size(); ++i)
    EXPECT_EQ(values_of(left.parameter(i).value), values_of(by_hand.parameter(i).value));
}

TEST_P(OptimizerOnOneRank, SkipsWhatIsNotFinite) {
  ScatteredWeights weights(DType::f32);
  const ScatteredWeights before(DType::f32);
  Optimizer optimizer(weights.chunks(), options, zero(), one_, one_);
  weights.parameter(0).gradient_sum().fill(std::numeric_limits<double>::infinity());
  EXPECT_TRUE(optimizer.step(0.1F, 1).skipped);
  EXPECT_EQ(optimizer.steps(), 0);
  gather_all(optimizer);
  for (int i = 0; i < weights.size(); ++i) {
    EXPECT_EQ(values_of(weights.parameter(i).value),
              values_of(before.all()[static_cast<std::size_t>(i)].parameter->value));
  }
  weights.add_gradients(1, 0, 0, 0);
  EXPECT_FALSE(optimizer.step(0.1F, 1).skipped);  // nothing of it is left
}

TEST_P(OptimizerOnOneRank, TrainsNothingWhereThereIsNothing) {
  for (const std::vector<std::vector<NamedParameter>>& none : {std::vector<std::vector<NamedParameter>>{}, {{}, {}}}) {
    Optimizer optimizer(none, options, zero(), one_, one_);
    for (int chunk = 0; chunk < static_cast<int>(none.size()); ++chunk) {
      optimizer.gather_weights(chunk);
      optimizer.wait_weights(chunk);
      optimizer.reduce_gradients(chunk);
      optimizer.release_weights(chunk);
    }
    const StepReport report = optimizer.step(0.1F, 1);
    EXPECT_EQ(report.gradient_norm, 0);
    EXPECT_FALSE(report.skipped);
  }
}

TEST_P(OptimizerOnOneRank, RefusesWhatItCannotDo) {
  using ::testing::HasSubstr;
  using ::testing::ThrowsMessage;
  ScatteredWeights weights(DType::f32);
  EXPECT_THAT([&] { Optimizer(weights.chunks(), options, {.stage = 4}, one_, one_); },
              ThrowsMessage<Error>(HasSubstr("no ZeRO stage 4")));
  EXPECT_THAT([&] { Optimizer(weights.chunks(), options, zero(0), one_, one_); },
              ThrowsMessage<Error>(HasSubstr("bucket of 0 bytes")));
  if (GetParam() == 3) {
    std::vector<NamedParameter> q_alone{weights.all()[2]};
    EXPECT_THAT([&] { Optimizer({q_alone}, options, zero(), one_, one_); },
                ThrowsMessage<Error>(HasSubstr("shares memory")));
  }
  Optimizer optimizer(weights.chunks(), options, zero(), one_, one_);
  EXPECT_THAT([&] { optimizer.gather_weights(2); }, ThrowsMessage<Error>(HasSubstr("no chunk 2 among 2")));
  if (GetParam() == 3) {
    EXPECT_THAT([&] { optimizer.release_weights(0); }, ThrowsMessage<Error>(HasSubstr("more often")));
    EXPECT_THAT([&] { optimizer.wait_weights(0); }, ThrowsMessage<Error>(HasSubstr("not gathered")));
    EXPECT_THAT([&] { weights.parameter(0).value.to_vector(); },
                ThrowsMessage<Error>(HasSubstr("gathered before use")));
  }
  if (GetParam() < 2) {
    optimizer.reduce_gradients(0, true);
    EXPECT_THAT([&] { optimizer.reduce_gradients(0, true); }, ThrowsMessage<Error>(HasSubstr("reduced before")));
  } else {
    optimizer.complete_gradient(1, weights.parameter(0));  // of another chunk: nothing happens
    optimizer.complete_gradient(0, weights.parameter(1));
    EXPECT_THAT([&] { optimizer.complete_gradient(0, weights.parameter(1)); },
                ThrowsMessage<Error>(HasSubstr("complete twice")));
    optimizer.reduce_gradients(0);
    weights.parameter(0).gradient_sum().fill(1);
    EXPECT_THAT([&] { optimizer.step(0.1F, 1); }, ThrowsMessage<Error>(HasSubstr("after the last reduce_gradients")));
  }
}

TEST(ZeroStage3, GivesMemoryBackBetweenUses) {
  SingleCommunicator one;
  ScatteredWeights weights(DType::f32);
  const auto held = [] { return cpu().allocator().use(Purpose::activations).current; };  // where random_tensor books
  const std::size_t before = held();
  Optimizer optimizer(weights.chunks(), options, {.stage = 3}, one, one);
  const std::size_t released = held();
  EXPECT_LE(released + 4 * (13 * 7 + 5 + 54 + 101 + 1), before);
  optimizer.gather_weights(0);
  optimizer.gather_weights(0);
  optimizer.gather_weights(1);
  for (int chunk = 0; chunk < 2; ++chunk) optimizer.wait_weights(chunk);
  EXPECT_EQ(held(), before);
  EXPECT_EQ(values_of(weights.parameter(0).value), values_of(ScatteredWeights(DType::f32).parameter(0).value));
  optimizer.release_weights(0);
  optimizer.release_weights(1);
  EXPECT_GT(held(), released);  // the first is gathered twice
  optimizer.release_weights(0);
  EXPECT_EQ(held(), released);
}

TEST(Buckets, CoverEveryElementOnce) {
  for (const int ranks : {1, 2, 3, 7}) {
    for (const std::int64_t bucket : {1, 10, 64, 1000}) {
      SCOPED_TRACE(fmt::format("{} ranks, buckets of {}", ranks, bucket));
      const std::vector<std::int64_t> sizes{91, 5, 0, 36, 18, 101, 1};
      const FlatLayout layout = flat_layout(sizes, ranks, bucket);
      std::vector<std::vector<int>> owners(sizes.size());
      for (std::size_t i = 0; i < sizes.size(); ++i) owners[i].resize(static_cast<std::size_t>(sizes[i]), 0);
      for (int rank = 0; rank < ranks; ++rank) {
        std::int64_t at = 0;
        for (const Piece& piece : owned_pieces(layout, rank)) {
          EXPECT_GE(piece.at, at);
          at = piece.at + piece.size();
          for (std::int64_t k = piece.begin; k < piece.end; ++k) ++owners[piece.parameter][static_cast<std::size_t>(k)];
        }
        EXPECT_LE(at, layout.shard_size);
      }
      for (const std::vector<int>& counts : owners) EXPECT_THAT(counts, ::testing::Each(1));
      std::int64_t size = 0;
      for (const Bucket& b : layout.buckets) {
        EXPECT_EQ(b.size % ranks, 0);
        EXPECT_LE(b.size, std::max<std::int64_t>(bucket, ranks));
        size += b.size;
      }
      EXPECT_EQ(size, layout.size());
      EXPECT_LT(size, 252 + ranks);  // padding only at the end
    }
  }
}

TEST(ZeroMemory, IsWhatTheTableSays) {
  ZeroSizes sizes{.chunks = {3000, 6000}, .dtype = DType::bf16, .ranks = 3, .micro_batches = 4, .gathers = 5};
  const auto memory = [&](int stage, bool overlap = true) {
    return zero_memory({.stage = stage, .bucket_bytes = 400, .overlap = overlap}, sizes);
  };
  EXPECT_EQ(memory(0).optimizer, 108000);
  EXPECT_EQ(memory(0).communication, 0);
  EXPECT_EQ(memory(1).optimizer, 36000);
  EXPECT_EQ(memory(1).gradients, 36000);
  EXPECT_EQ(memory(1).communication, 2 * 200);
  EXPECT_EQ(memory(2).gradients, 12000 + 24000);
  EXPECT_EQ(memory(2).weights, 18000);
  EXPECT_EQ(memory(2).communication, 2 * 4 * 400);
  EXPECT_EQ(memory(2, false).communication, 2 * 400);
  EXPECT_EQ(memory(3).weights, 6000 + 12000);
  EXPECT_EQ(memory(3).communication, 12000);
  const auto traffic = [&](int stage) { return zero_traffic({.stage = stage}, sizes); };
  EXPECT_EQ(traffic(0).gradients, 2 * 24000);
  EXPECT_EQ(traffic(1).gradients, 24000);
  EXPECT_EQ(traffic(1).weights, 12000);
  EXPECT_EQ(traffic(2).gradients, 4 * 24000);
  EXPECT_EQ(traffic(3).weights, 5 * 12000);
  sizes.by_nccl = true;  // which sums four buckets at once, at stages 0 and 1
  EXPECT_EQ(memory(0).communication, 4 * 400);
  EXPECT_EQ(memory(0, false).communication, 400);
  EXPECT_EQ(memory(1).communication, 4 * 400);
  EXPECT_EQ(memory(1, false).communication, 400);
  EXPECT_EQ(memory(2).communication, 2 * 4 * 400);
  sizes.ranks = 1;
  EXPECT_EQ(memory(0).communication, 0);
}

TEST(LearningRate, WarmsUpAndFollowsACosine) {
  const auto factor = [](std::int64_t step) {
    return learning_rate_factor(LearningRateSchedule::cosine, step, 10, 110, 0.1F);
  };
  EXPECT_FLOAT_EQ(factor(0), 0.1F);
  EXPECT_FLOAT_EQ(factor(9), 1.0F);
  EXPECT_FLOAT_EQ(factor(60), 0.55F);
  EXPECT_FLOAT_EQ(factor(110), 0.1F);
  EXPECT_FLOAT_EQ(learning_rate_factor(LearningRateSchedule::constant, 60, 10, 110, 0.1F), 1.0F);
}

}  // namespace
}  // namespace skymm::testing
