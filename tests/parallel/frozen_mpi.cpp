// Frozen layers that data-parallel ranks share out: whole when they are used, away when they are not, and training with
// them has the bits of training without.
#include <algorithm>
#include <utility>

#include "core/error.hpp"
#include "core/random.hpp"
#include "parallel/pipeline/batches.hpp"
#include "parallel/zero/frozen.hpp"
#include "parallel/zero/memory.hpp"
#include "support/mpi_main.hpp"
#include "support/pipeline.hpp"
#include "support/text.hpp"

namespace skymm::testing {
namespace {

using ::testing::HasSubstr;

Tensor weight(const Shape& shape, DType dtype, std::uint64_t seed) {
  const PurposeScope purpose(Purpose::weights);
  if (dtype != DType::u8) return random_tensor(shape, dtype, seed);
  RandomStream random(seed);
  std::vector<std::uint8_t> codes;
  for (std::int64_t i = 0; i < shape.numel(); ++i) codes.push_back(static_cast<std::uint8_t>(random.below(256)));
  return Tensor::from(codes, shape);
}

// Of several types, and of sizes that do not divide by the ranks.
std::vector<Tensor> odd_layer(std::uint64_t seed) {
  return {weight({7, 3}, DType::u8, seed), weight({5}, DType::f32, seed + 1), weight({1}, DType::f32, seed + 2),
          weight({31}, DType::u8, seed + 3), weight({2, 9}, DType::bf16, seed + 4)};
}

struct OddLayers {
  explicit OddLayers(FrozenShards& shards) {
    for (std::int64_t layer = 0; layer < 3; ++layer) {
      layers.push_back(odd_layer(static_cast<std::uint64_t>(10 * layer)));
      shards.add(layer, layers.back());
    }
  }
  void expect_whole(std::int64_t number) const {
    const auto layer = static_cast<std::size_t>(number);
    const std::vector<Tensor> expected = odd_layer(10 * layer);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(values_of(layers[layer][i]), values_of(expected[i])) << "layer " << layer << ", tensor " << i;
    }
    for (std::size_t other = 0; other < layers.size(); ++other) {
      if (other == layer) continue;
      EXPECT_THAT(error_of([&] { layers[other][0].raw(); }), HasSubstr("given up")) << other;
    }
  }

  std::vector<std::vector<Tensor>> layers;
};

TEST(Frozen, LayersAreWholeWhileTheyAreUsed) {
  for (const bool overlap : {true, false}) {
    SCOPED_TRACE(overlap);
    FrozenShards shards(ranks(), overlap);
    const OddLayers weights(shards);
    for (int again = 0; again < 2; ++again) {
      shards.begin({{0, 1, 2}, {2, 1, 0}, {}, {0, 1}});
      for (const std::int64_t layer : {0, 1, 2}) {
        shards.use(layer);
        weights.expect_whole(layer);
      }
      shards.end_computation();
      for (const std::int64_t layer : {2, 1, 1, 0}) {
        shards.use(layer);
        weights.expect_whole(layer);
      }
      shards.end_computation();
      shards.end_computation();
      shards.use(0);
      weights.expect_whole(0);
      shards.end_computation();
      shards.end();
      EXPECT_THAT(error_of([&] { weights.layers[0][0].raw(); }), HasSubstr("given up"));
    }
  }
}

// Each rank uses other layers, or none.
TEST(Frozen, RanksThatUseLessStayInStep) {
  for (const bool overlap : {true, false}) {
    SCOPED_TRACE(overlap);
    FrozenShards shards(ranks(), overlap);
    const OddLayers weights(shards);
    const LayerUses uses{{0, 1, 2}, {2, 1, 0}, {0, 1, 2}, {2, 1, 0}};
    shards.begin(uses);
    for (std::size_t computation = 0; computation < uses.size(); ++computation) {
      for (const std::int64_t layer : uses[computation]) {
        if ((layer + static_cast<std::int64_t>(computation) + ranks().rank()) % 3 == 0) continue;
        if (computation == 1 && ranks().rank() == 1) continue;  // nothing at all
        shards.use(layer);
        weights.expect_whole(layer);
      }
      shards.end_computation();
    }
    shards.end();
  }
}

TEST(Frozen, AUseOutOfOrderIsAnError) {
  FrozenShards shards(ranks(), true);
  const OddLayers weights(shards);
  EXPECT_THAT(error_of([&] { shards.use(0); }), HasSubstr("outside of a pass"));
  EXPECT_THAT(error_of([&] { shards.add(1, odd_layer(1)); }), HasSubstr("they were sharded before"));
  const Tensor whole = weight({6}, DType::f32, 1);
  EXPECT_THAT(error_of([&] { shards.add(3, {whole.slice(0, 0, 2)}); }), HasSubstr("shares memory"));
  shards.begin({{0, 1}, {1}});
  shards.use(1);
  EXPECT_THAT(error_of([&] { shards.use(0); }), HasSubstr("layer 0 is used where its pass does not have it"));
  EXPECT_THAT(error_of([&] { shards.end(); }), HasSubstr("after 0 of 2"));
  shards.end_computation();
  shards.end_computation();
  shards.end();
}

// Sizes that divide by 2, 3, 4 and 5 ranks, and that the allocator hardly rounds.
TEST(Frozen, HoldsAndMovesWhatTheFormulasSay) {
  constexpr std::int64_t layers = 6, elements = 120000, bytes = 4 * elements;
  for (const bool overlap : {true, false}) {
    SCOPED_TRACE(overlap);
    CachingAllocator& allocator = cpu().allocator();
    const auto held = [&](Purpose purpose) { return static_cast<double>(allocator.use(purpose).current); };
    const auto peak = [&](Purpose purpose) { return static_cast<double>(allocator.use(purpose).peak); };
    const double weights = held(Purpose::weights), communication = held(Purpose::communication);
    FrozenShards shards(ranks(), overlap);
    for (std::int64_t layer = 0; layer < layers; ++layer) {
      shards.add(layer, {weight({elements / 2}, DType::bf16, 1), weight({elements / 4, 2}, DType::bf16, 2),
                         weight({elements / 2}, DType::f32, 3)});
    }
    const auto expect = [](double is, std::int64_t should) {
      EXPECT_NEAR(is, static_cast<double>(should), 0.03 * static_cast<double>(should));
    };
    EXPECT_EQ(shards.bytes(), layers * bytes);
    EXPECT_EQ(shards.largest_layer(), bytes);
    expect(held(Purpose::weights) - weights, layers * bytes / ranks().size());
    LayerUses uses;
    for (int micro_batch = 0; micro_batch < 2; ++micro_batch) {
      uses.push_back({0, 1, 2, 3, 4, 5});
      uses.push_back({5, 4, 3, 2, 1, 0});
    }
    allocator.reset_peak();
    shards.begin(uses);
    double both = 0;
    for (const auto& computation : uses) {
      for (const std::int64_t layer : computation) {
        shards.use(layer);
        both = std::max(both, held(Purpose::weights) + held(Purpose::communication));
      }
      shards.end_computation();
    }
    shards.end();
    const ZeroMemory expected = frozen_memory(layers * bytes, bytes, ranks().size());
    expect(peak(Purpose::weights) - weights, expected.weights);
    expect(peak(Purpose::communication) - communication, expected.communication);
    EXPECT_LE(both - weights - communication, 1.03 * static_cast<double>(expected.weights + expected.communication));
    EXPECT_EQ(held(Purpose::communication), communication);
    const auto gathers = static_cast<std::int64_t>(gathers_of(uses).size());
    EXPECT_EQ(gathers, 1 + 4 * (layers - 1));  // not again where a pass turns round
    EXPECT_EQ(shards.counts().bytes(), 2 * frozen_traffic(gathers * bytes, ranks().size()));  // sent and received
  }
}

// A rank of `pipeline` whose layers the ranks of `data` share out.
struct ShardedRank : PipelineRank {
  ShardedRank(const MultimodalConfig& config, const PipelineShape& shape, Communicator& pipeline, Communicator& data,
              bool overlap, DType dtype, std::vector<BlockRange> cut = {})
      : PipelineRank(config, shape, pipeline, {}, std::move(cut), dtype), shards(data, overlap) {
    const std::int64_t first = first_block(config, BlockKind::layer);
    for (const BlockRange piece : model->pieces()) {
      const BlockRange layers = indices_of(config, BlockKind::layer, piece);
      for (std::int64_t layer = layers.begin; layer < layers.end; ++layer) {
        shards.add(first + layer, model->layer_tensors(layer));
      }
    }
    executor = std::make_unique<Executor>(*model, pieces, pipeline, *optimizer, ExecutorOptions{overlap, &shards});
  }

  FrozenShards shards;
};

// Micro-batches in another order on each rank: where one has no pictures, or nothing to learn, another has both.
std::vector<Batch> batches_of_rank(const MultimodalConfig& config, DType dtype) {
  std::vector<Batch> batches = pipeline_batches(config, dtype);
  std::ranges::rotate(batches, batches.begin() + ranks().rank() % static_cast<int>(batches.size()));
  return batches;
}

void expect_the_same_bits(const MultimodalConfig& config, ScheduleKind kind, bool overlap, DType dtype) {
  const std::vector<Batch> batches = batches_of_rank(config, dtype);
  SingleCommunicator alone;
  const PipelineShape shape{1, static_cast<int>(batches.size()), kind == ScheduleKind::interleaved ? 2 : 1};
  const Schedule schedule = make_schedule(kind, shape), validation = make_forward_schedule(shape);
  PipelineRank whole(config, shape, alone, {}, {}, dtype);
  ShardedRank sharded(config, shape, alone, ranks(), overlap, dtype);
  for (int again = 0; again < 2; ++again) {
    const Result expected = whole.train(schedule, batches), trained = sharded.train(schedule, batches);
    EXPECT_EQ(trained.loss, expected.loss);
    EXPECT_FALSE(trained.gradients.empty());
    EXPECT_EQ(trained.gradients, expected.gradients);
    EXPECT_EQ(sharded.train(validation, batches).loss, whole.train(validation, batches).loss);
  }
}

TEST(Frozen, EveryScheduleAndRecomputationTrainsWithTheSameBits) {
  for (const Recompute recompute : {Recompute::none, Recompute::attention_mlp, Recompute::full}) {
    for (const ScheduleKind kind :
         {ScheduleKind::gpipe, ScheduleKind::one_f_one_b, ScheduleKind::interleaved, ScheduleKind::zero_bubble}) {
      for (const bool overlap : {true, false}) {
        SCOPED_TRACE(fmt::format("{}, recompute {}{}", name_of(kind), name_of(recompute), overlap ? "" : ", blocking"));
        MultimodalConfig config = pipeline_config();
        config.recompute = recompute;
        expect_the_same_bits(config, kind, overlap, DType::f32);
      }
    }
  }
}

TEST(Frozen, EveryFormTrainsWithTheSameBits) {
  struct Form {
    const char* name;
    Packing packing;
    std::optional<Quantization> quantization = {};
    DType dtype = DType::bf16;
  };
  for (const Form& form : {Form{"plain", Packing::none}, Form{"packed", Packing::forward},
                           Form{"packed f32", Packing::both, {}, DType::f32},
                           Form{"int8", Packing::both, Quantization{QuantizedFormat::int8, false}},
                           Form{"nf4", Packing::both, Quantization{QuantizedFormat::nf4, false}},
                           Form{"nf4 double", Packing::both, Quantization{QuantizedFormat::nf4, true}}}) {
    SCOPED_TRACE(form.name);
    MultimodalConfig config = pipeline_config();
    config.packing = form.packing;
    config.quantization = form.quantization;
    expect_the_same_bits(config, ScheduleKind::one_f_one_b, true, form.dtype);
  }
}

// Where no gradient reaches a layer its micro-batch does not walk back there; the layer is gathered for other ranks.
TEST(Frozen, LayersThatNoGradientReachesAreGathered) {
  MultimodalConfig config = pipeline_config();
  config.lora.rank = 0;
  for (const ScheduleKind kind : {ScheduleKind::one_f_one_b, ScheduleKind::zero_bubble}) {
    SCOPED_TRACE(name_of(kind));
    expect_the_same_bits(config, kind, true, DType::f32);
  }
}

// The first stage has no layer, so that late stages put off the weight gradients of the first.
TEST(Frozen, StagesOfAPipelineFindTheirLayers) {
  MultimodalConfig config = pipeline_config();
  config.recompute = Recompute::full;
  const std::vector<Batch> batches =
      share_batches(ranks(), ranks().rank() == 0 ? pipeline_batches(config) : std::vector<Batch>());
  const std::int64_t text = first_block(config, BlockKind::embedding), all = all_blocks(config).end;
  std::vector<BlockRange> cut{{0, text}};
  for (int stage = 1; stage < ranks().size(); ++stage) {
    cut.push_back({cut.back().end, text + stage * (all - text) / (ranks().size() - 1)});
  }
  for (const ScheduleKind kind :
       {ScheduleKind::gpipe, ScheduleKind::one_f_one_b, ScheduleKind::interleaved, ScheduleKind::zero_bubble}) {
    SCOPED_TRACE(name_of(kind));
    const bool interleaved = kind == ScheduleKind::interleaved;
    const PipelineShape shape{ranks().size(), static_cast<int>(batches.size()), interleaved ? 2 : 1};
    const Schedule schedule = make_schedule(kind, shape);
    const std::vector<BlockRange> pieces = interleaved ? std::vector<BlockRange>() : cut;
    SingleCommunicator alone;
    PipelineRank whole(config, shape, ranks(), {}, pieces);
    ShardedRank sharded(config, shape, ranks(), alone, true, DType::f32, pieces);
    const Result expected = whole.train(schedule, batches), trained = sharded.train(schedule, batches);
    EXPECT_EQ(trained.loss, expected.loss);
    EXPECT_EQ(trained.gradients, expected.gradients);
  }
}

TEST(Frozen, WorkThatWaitsOnAStreamFindsItsWeights) {
  DeferredStream stream(cpu());
  const StreamScope scope(stream);
  MultimodalConfig config = pipeline_config();
  config.recompute = Recompute::full;
  expect_the_same_bits(config, ScheduleKind::zero_bubble, true, DType::f32);
}

}  // namespace
}  // namespace skymm::testing

int main(int argc, char** argv) { return skymm::testing::run_mpi_tests(argc, argv); }
