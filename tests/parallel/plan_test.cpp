// Plans, held against runs: bytes by purpose within a tenth of what the allocator counts.
#include "parallel/pipeline/plan.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "core/error.hpp"
#include "launch/training/checkpointer.hpp"
#include "parallel/communicator.hpp"
#include "parallel/zero/optimizer.hpp"
#include "support/models.hpp"
#include "support/text.hpp"

namespace skymm::testing {
namespace {

constexpr StepCounts counts{.tokens = 180 + 3 * 4, .labels = 176, .images = 3, .resampled = 3, .mean_length = 50};
const std::vector<Sample> samples{{0, 40, true}, {1, 60, false}, {2, 50, true}, {3, 30, true}};

MultimodalConfig config_of(const char* vision, const char* decoder) {
  MultimodalConfig config;
  config.vision = vision_preset(vision);
  config.decoder = decoder_preset(decoder);
  config.resampler = {.kind = ResamplerKind::qwen, .queries = 4, .heads = 2};
  config.lora = {.rank = 4, .alpha = 8, .dropout = 0.1F};
  return config;
}

class Meter {
 public:
  Meter() {
    cpu().allocator().reset_peak();
    for (const Purpose purpose : all) before_[purpose] = cpu().allocator().use(purpose).current;
  }
  double peak(Purpose purpose) const {
    return static_cast<double>(cpu().allocator().use(purpose).peak) - static_cast<double>(before_.at(purpose));
  }
  double now(Purpose purpose) const {
    return static_cast<double>(cpu().allocator().use(purpose).current) - static_cast<double>(before_.at(purpose));
  }

 private:
  static constexpr std::array all{Purpose::weights, Purpose::activations, Purpose::gradients, Purpose::optimizer,
                                  Purpose::checkpoints};
  std::map<Purpose, std::size_t> before_;
};

void expect_within_a_tenth(double measured, double predicted, const char* what) {
  EXPECT_NEAR(measured, predicted, 0.1 * predicted) << what;
}

class PlanOf : public ::testing::TestWithParam<std::pair<const char*, const char*>> {};
INSTANTIATE_TEST_SUITE_P(, PlanOf, ::testing::Values(std::pair{"vit-pico", "pico"}, std::pair{"vit-nano", "nano"}),
                         [](const auto& info) { return info.param.second; });

TEST_P(PlanOf, MemoryOfARankIsWhatAStepTakes) {
  const MultimodalConfig config = config_of(GetParam().first, GetParam().second);
  const std::vector<Plan> plans =
      plan({.model = config, .form = compute_form(DType::bf16, cpu()), .micro_batch = counts, .micro_batches = 2});
  ASSERT_EQ(plans.size(), 1U);
  const Batch batch = batch_of(config, samples, DType::bf16);
  const Meter meter;  // the pixels are there before
  const auto model = random_model(config, DType::bf16);
  const double weights = meter.now(Purpose::weights);
  SingleCommunicator world;
  Optimizer optimizer(trainable_parameters(*model), {}, world);
  for (int micro_batch = 0; micro_batch < 2; ++micro_batch) {
    Graph graph;
    const Variable loss = model->loss(graph, batch);
    graph.backward(loss, Tensor::full({1}, DType::f32, 1));
  }
  optimizer.step(1e-3F, 1);
  const TemporaryFolder folder;
  Checkpointer checkpointer(folder.file("checkpoints"), {1}, optimizer, {});
  checkpointer.begin({});
  EXPECT_TRUE(checkpointer.finish());
  const RankMemory& predicted = plans[0].largest();
  expect_within_a_tenth(weights, predicted.weights, "weights");
  expect_within_a_tenth(meter.peak(Purpose::gradients), predicted.gradients, "gradients");
  expect_within_a_tenth(meter.peak(Purpose::optimizer), predicted.optimizer, "optimizer");
  expect_within_a_tenth(meter.peak(Purpose::checkpoints), predicted.checkpoint, "checkpoint");
  expect_within_a_tenth(meter.peak(Purpose::activations), predicted.activations, "activations");
}

// What a stage keeps while it works through its list, every micro-batch alike, as the executor does it: block by block,
// with pixels until the first has read them.
double activations_of(Multimodal& model, const Schedule& schedule, int stage, const Batch& batch) {
  struct Live {
    Batch batch;
    Graph graph{};
    Variable input, output;
  };
  const MultimodalConfig& config = model.config();
  const BatchSizes sizes = model.sizes(batch);
  const Meter meter;
  std::map<std::pair<int, int>, Live> live;
  for (const Instruction& instruction : schedule.stages[static_cast<std::size_t>(stage)]) {
    if (!computes(instruction.kind)) continue;
    const BlockRange piece = model.pieces()[static_cast<std::size_t>(instruction.chunk)];
    const std::pair place{instruction.chunk, instruction.micro_batch};
    Live& here = live[place];
    if (instruction.kind == Instruction::Kind::forward) {
      here.batch = batch;
      if (piece.begin == 0) {
        here.batch.pixels = batch.pixels.clone();
      } else {
        const Tensor received = Tensor::zeros(boundary_shape(config, piece.begin, sizes), model.dtype());
        here.input =
            gradient_crosses(config, piece.begin, sizes) ? here.graph.input(received) : here.graph.constant(received);
      }
      here.output = std::exchange(here.input, Variable());
      for (std::int64_t block = piece.begin; block < piece.end; ++block) {
        here.output = model.run({block, block + 1}, here.graph, here.output, here.batch);
        here.batch.pixels = Tensor();
      }
    } else {
      const Variable output = std::exchange(here.output, Variable());
      if (output.needs_gradient()) {
        here.graph.backward(output, Tensor::full(output.value().shape(), output.value().dtype(), 1));
      }
      live.erase(place);
    }
  }
  return meter.peak(Purpose::activations);
}

TEST_P(PlanOf, MemoryOfAStageIsWhatItsScheduleKeepsAlive) {
  MultimodalConfig config = config_of(GetParam().first, GetParam().second);
  const std::vector<Recompute> modes{Recompute::attention_mlp, Recompute::none};
  const StageCosts costs(config, counts, compute_form(DType::bf16, cpu()), modes);
  const Batch batch = batch_of(config, samples, DType::bf16);
  for (const ScheduleKind kind : {ScheduleKind::gpipe, ScheduleKind::one_f_one_b, ScheduleKind::interleaved}) {
    const PartitionShape shape{2, kind == ScheduleKind::interleaved ? 2 : 1};
    const Schedule schedule = make_schedule(kind, {.stages = shape.stages, .micro_batches = 4, .chunks = shape.chunks});
    const std::vector<BlockRange> pieces = partition(costs, shape);
    for (int stage = 0; stage < shape.stages; ++stage) {
      SCOPED_TRACE(fmt::format("{}, stage {}", name_of(kind), stage));
      const std::vector<BlockRange> own = pieces_of_stage(pieces, shape.stages, stage);
      config.recompute = modes[static_cast<std::size_t>(stage)];
      const auto model = random_model(config, own, DType::bf16);
      const RankMemory predicted = rank_memory(costs.of(stage), own, schedule, stage, {});
      const double measured = activations_of(*model, schedule, stage, batch);
      expect_within_a_tenth(measured, predicted.activations, "activations");
    }
  }
}

TEST(Plan, ZeroShardsWhatTrains) {
  const MultimodalConfig config = config_of("vit-pico", "pico");
  const std::vector<BlockCost> costs = block_costs(config, counts, {});
  const Schedule schedule = make_schedule(ScheduleKind::one_f_one_b, {.stages = 1, .micro_batches = 4});
  const auto memory = [&](int zero_stage) {
    return rank_memory(costs, {all_blocks(config)}, schedule, 0, {.zero_stage = zero_stage, .data = 4});
  };
  const double trained = static_cast<double>(piece_cost(costs, all_blocks(config)).trained);
  EXPECT_DOUBLE_EQ(memory(0).optimizer, 12 * trained);
  EXPECT_DOUBLE_EQ(memory(1).optimizer, 3 * trained);
  EXPECT_DOUBLE_EQ(memory(1).gradients, 4 * trained);
  EXPECT_DOUBLE_EQ(memory(2).gradients, 4 * trained * (1 + 0.25));
  EXPECT_EQ(memory(0).weights, memory(2).weights);
  EXPECT_EQ(memory(0).communication, 0);
  EXPECT_GT(memory(2).communication, 0);
  for (const int zero_stage : {0, 1, 3}) EXPECT_DOUBLE_EQ(memory(zero_stage).checkpoint, 3 * trained);  // to write
  const RankForm on_gpu{.data = 4, .on_host = false};
  EXPECT_EQ(rank_memory(costs, {all_blocks(config)}, schedule, 0, on_gpu).checkpoint, 0);
  const RankMemory by_nccl = rank_memory(costs, {all_blocks(config)}, schedule, 0, {.data = 4, .by_nccl = true});
  EXPECT_DOUBLE_EQ(by_nccl.communication, 4 * trained);  // less than four buckets
}

TEST(Plan, RanksOfANodeShareWhatIsFrozen) {
  const MultimodalConfig config = config_of("vit-pico", "pico");
  const std::vector<BlockCost> costs = block_costs(config, counts, {});
  const Schedule schedule = make_schedule(ScheduleKind::one_f_one_b, {.stages = 1, .micro_batches = 4});
  const auto memory = [&](int sharing) {
    return rank_memory(costs, {all_blocks(config)}, schedule, 0, {.dtype = DType::f32, .data = 4, .sharing = sharing});
  };
  const BlockCost whole = piece_cost(costs, all_blocks(config));
  const double trained = 4 * static_cast<double>(whole.trained);
  EXPECT_DOUBLE_EQ(memory(1).weights, whole.weights);
  EXPECT_DOUBLE_EQ(memory(4).weights, (whole.weights - trained) / 4 + trained);
  EXPECT_DOUBLE_EQ(memory(4).optimizer, memory(1).optimizer);

  PlanInput input{.model = config, .micro_batch = counts, .micro_batches = 4, .ranks = 4};
  const auto of_one_stage = [&](int ranks_per_node) {
    input.ranks_per_node = ranks_per_node;
    for (const Plan& plan : skymm::plan(input)) {
      if (plan.grid.pipeline == 1 && plan.zero_stage == 0) return plan;
    }
    return Plan();
  };
  EXPECT_EQ(of_one_stage(1).sharing, 1);
  EXPECT_EQ(of_one_stage(2).sharing, 2);
  EXPECT_LT(of_one_stage(4).largest().weights, of_one_stage(2).largest().weights);
  EXPECT_NE(memory_table(input, of_one_stage(4)).find("one copy for 4 ranks of a node"), std::string::npos);
  EXPECT_EQ(memory_table(input, of_one_stage(1)).find("one copy"), std::string::npos);
  const Plan together = of_one_stage(4);
  EXPECT_DOUBLE_EQ(with_recompute(together, input, Recompute::none).largest().total(), together.largest().total());
}

TEST(Plan, DataParallelRanksShareOutFrozenLayers) {
  const MultimodalConfig config = config_of("vit-pico", "pico");
  const std::vector<BlockCost> costs = block_costs(config, counts, {});
  const Schedule schedule = make_schedule(ScheduleKind::one_f_one_b, {.stages = 1, .micro_batches = 4});
  const auto memory = [&](int data, bool shard, int sharing = 1) {
    return rank_memory(costs, {all_blocks(config)}, schedule, 0,
                       {.data = data, .sharing = sharing, .shard_frozen = shard});
  };
  const BlockCost whole = piece_cost(costs, all_blocks(config));
  EXPECT_GT(whole.frozen_layers, 0);
  EXPECT_DOUBLE_EQ(whole.largest_layer * static_cast<double>(config.decoder.layers), whole.frozen_layers);
  const double moved = whole.frozen_layers * 3 / 4;
  EXPECT_DOUBLE_EQ(memory(4, true).weights, memory(4, false).weights - moved + whole.largest_layer);
  EXPECT_DOUBLE_EQ(memory(4, true).communication, memory(4, false).communication + whole.largest_layer);
  EXPECT_DOUBLE_EQ(memory(1, true).total(), memory(1, false).total());  // nobody to share with
  // Ranks of a node share what is left.
  const double rest = memory(4, false).weights - whole.frozen_layers - 2 * static_cast<double>(whole.trained);
  EXPECT_DOUBLE_EQ(memory(4, true, 2).weights, memory(4, true).weights - rest / 2);

  PlanInput input{.model = config, .micro_batch = counts, .micro_batches = 4, .ranks = 4, .bandwidth = 1e6};
  const auto of_four = [&](bool shard) {
    input.shard_frozen = shard;
    for (const Plan& plan : skymm::plan(input)) {
      if (plan.grid.data == 4 && plan.zero_stage == 0) return plan;
    }
    return Plan();
  };
  const Plan apart = of_four(true);
  EXPECT_NE(memory_table(input, apart).find("spread over 4 data-parallel ranks"), std::string::npos);
  const Plan copies = of_four(false);
  EXPECT_LT(apart.largest().weights, copies.largest().weights);
  // One micro-batch a rank: forward through all layers, back through all but the last, which is still there.
  const double gathered = 2 * whole.frozen_layers - whole.largest_layer;
  EXPECT_NEAR(apart.step_seconds - copies.step_seconds, gathered * 3 / 4 / input.bandwidth, 1e-5);
}

TEST(Plan, ATiedTableOnOneRankIsOneTable) {
  const MultimodalConfig config = config_of("vit-pico", "nano");
  const std::vector<BlockCost> costs = block_costs(config, counts, {});
  const Schedule schedule = make_schedule(ScheduleKind::interleaved, {.stages = 1, .micro_batches = 1, .chunks = 2});
  const BlockRange all = all_blocks(config);
  const auto weights = [&](const std::vector<BlockRange>& pieces, int chunks) {
    const Schedule list = chunks == 2 ? schedule : make_schedule(ScheduleKind::gpipe, {});
    return rank_memory(costs, pieces, list, 0, {}).weights;
  };
  EXPECT_DOUBLE_EQ(weights({{0, 5}, {5, all.end}}, 2), weights({all}, 1));
}

TEST(Plan, GridsThatFitComeFirstAndSoDoFastOnes) {
  MultimodalConfig config = config_of("vit-b16", "smollm2-135m");
  PlanInput input{.model = config, .micro_batch = counts, .micro_batches = 16, .ranks = 4};
  const std::vector<Plan> free = plan(input);
  EXPECT_GT(free.size(), 8U);
  for (std::size_t i = 1; i < free.size(); ++i) {
    EXPECT_TRUE(free[i].problem.empty());
    EXPECT_LE(free[i - 1].step_seconds, free[i].step_seconds);
  }
  double whole = 0;
  for (const Plan& candidate : free) {
    EXPECT_EQ(candidate.grid.size(), 4);
    EXPECT_EQ(candidate.pieces.size(), static_cast<std::size_t>(candidate.grid.pipeline * candidate.chunks));
    if (candidate.grid.pipeline == 1 && candidate.zero_stage == 0) whole = candidate.largest().total();
    EXPECT_GE(candidate.bubble, 0);
  }
  ASSERT_GT(whole, 0);
  input.memory = 0.6 * whole;  // half of a model, not all of it
  const std::vector<Plan> tight = plan(input);
  EXPECT_TRUE(tight.front().problem.empty());
  EXPECT_GT(tight.front().grid.pipeline, 1);
  EXPECT_FALSE(tight.back().problem.empty());
  for (const Plan& candidate : tight) {
    EXPECT_EQ(candidate.problem.empty(), candidate.largest().total() <= input.memory);
  }
  input.memory = 1e6;
  EXPECT_THAT(plan(input).front().problem, ::testing::HasSubstr("does not fit"));
  EXPECT_THAT(plan_table(tight, 3), ::testing::HasSubstr("fits"));
  input.ranks = 2;
  input.memory = 0;
  input.cuts = {"resampler"};
  for (const Plan& candidate : plan(input)) {
    if (candidate.pieces.size() == 2) {
      EXPECT_EQ(candidate.pieces[0].end, first_block(config, BlockKind::resampler));
    }
  }
}

TEST(Plan, EveryScheduleIsPlannedAndTheRecipesOwnChunks) {
  PlanInput input{.model = config_of("vit-pico", "pico"), .micro_batch = counts, .micro_batches = 8, .ranks = 2};
  input.chunks = 3;
  std::set<std::pair<std::string_view, int>> planned;
  std::map<std::string_view, double> activations;
  for (const Plan& candidate : plan(input)) {
    if (candidate.grid.pipeline == 1) continue;
    planned.insert({name_of(candidate.schedule), candidate.chunks});
    activations[name_of(candidate.schedule)] = candidate.stages[0].activations;
  }
  EXPECT_EQ(
      planned,
      (std::set<std::pair<std::string_view, int>>{
          {"1f1b", 1}, {"gpipe", 1}, {"interleaved", 2}, {"interleaved", 3}, {"interleaved", 4}, {"zero-bubble", 1}}));
  EXPECT_GT(activations["gpipe"], 2 * activations["1f1b"]);  // of 8 micro-batches, and of 2
}

TEST(Plan, RecomputationTradesTimeForMemory) {
  MultimodalConfig config = config_of("vit-b16", "smollm2-135m");
  config.vision.reset();
  PlanInput input{.model = config, .micro_batch = counts, .micro_batches = 16, .ranks = 2};
  const Plan plain = plan(input).front();
  std::vector<Plan> modes;
  for (const Recompute mode : {Recompute::none, Recompute::attention_mlp, Recompute::full}) {
    modes.push_back(with_recompute(plain, input, mode));
  }
  EXPECT_EQ(modes[0].step_seconds, plain.step_seconds);
  for (std::size_t i = 1; i < modes.size(); ++i) {
    EXPECT_GT(modes[i].step_seconds, modes[i - 1].step_seconds);
    EXPECT_LT(modes[i].largest().activations, modes[i - 1].largest().activations);
  }
  EXPECT_THAT(recompute_table(input, plain), ::testing::ContainsRegex("attention.mlp +[0-9.]+ s .* fits"));
  input.recompute = {Recompute::full, Recompute::none};
  for (const Plan& candidate : plan(input)) EXPECT_EQ(candidate.grid.pipeline, 2);
  input.ranks = 3;
  EXPECT_THROW(plan(input), Error);
}

TEST(Plan, RefusesCutsThatNoGridHas) {
  PlanInput input{.model = config_of("vit-pico", "pico"), .micro_batch = counts, .micro_batches = 4, .ranks = 2};
  const auto message = [&](std::vector<std::string> cuts) {
    input.cuts = std::move(cuts);
    try {
      plan(input);
    } catch (const Error& error) {
      return error.message();
    }
    return std::string("no error");
  };
  EXPECT_EQ(message({"resampler"}), "no error");
  EXPECT_THAT(message({"resamplre"}), ::testing::HasSubstr("no block 'resamplre'"));
  EXPECT_THAT(message({"vision.1", "resampler"}), ::testing::HasSubstr("3 pieces of the model, as no grid of 2 ranks"));
}

TEST(Plan, LeavesOutGridsThatWouldTearATrainedTableApart) {
  MultimodalConfig config = config_of("vit-pico", "nano");
  config.vision.reset();
  config.lora.rank = 0;
  config.trainable = {.resampler = false, .decoder = true};
  ASSERT_TRUE(config.decoder.tied);
  for (const Plan& candidate : plan({.model = config, .micro_batch = counts, .micro_batches = 4, .ranks = 2})) {
    EXPECT_EQ(candidate.grid.pipeline, 1);
  }
}

TEST(Plan, GridsThatABatchDoesNotDivideByHaveAProblem) {
  PlanInput input{.model = config_of("vit-pico", "pico"), .micro_batch = counts, .micro_batches = 3, .ranks = 2};
  const auto problems = [&] {
    return std::ranges::count_if(plan(input), [](const Plan& one) {
      return one.grid.data == 2 && one.problem.find("do not divide by 2") != std::string::npos;
    });
  };
  EXPECT_EQ(problems(), 4);  // at each ZeRO stage
  input.uneven = true;
  EXPECT_EQ(problems(), 0);
}

}  // namespace
}  // namespace skymm::testing
