// Predicted work, parameters and memory, against counting them.
#include "ops/models/cost.hpp"

#include "support/models.hpp"

namespace skymm::testing {
namespace {

MultimodalConfig config_of(const char* vision, const char* decoder, const ResamplerConfig& resampler) {
  MultimodalConfig config;
  config.vision = vision_preset(vision);
  config.decoder = decoder_preset(decoder);
  config.resampler = resampler;
  config.lora = {.rank = 4, .alpha = 8, .dropout = 0.1F};
  return config;
}

const ResamplerConfig qwen{.kind = ResamplerKind::qwen, .queries = 4, .heads = 2};
const ResamplerConfig perceiver{.kind = ResamplerKind::perceiver, .queries = 4, .heads = 2, .head_width = 16};
const ResamplerConfig qformer{.kind = ResamplerKind::qformer, .queries = 4, .heads = 2, .head_width = 16, .depth = 3};

const std::vector<Sample> samples{{0, 40, true}, {1, 60, false}, {2, 50, true}, {3, 30, true}};

StepCounts counts_of(const Multimodal& model, const Batch& batch) {
  const BatchSizes sizes = model.sizes(batch);
  double squares = 0;
  const std::vector<std::int32_t> offsets = batch.sequence_offsets.to_vector<std::int32_t>();
  for (std::size_t i = 1; i < offsets.size(); ++i)
    squares += (offsets[i] - offsets[i - 1]) * (offsets[i] - offsets[i - 1]);
  return {.tokens = sizes.tokens,
          .labels = sizes.labels,
          .images = sizes.images,
          .resampled = sizes.images,
          .mean_length = squares / static_cast<double>(sizes.tokens)};
}

TEST(Cost, EveryBlockHasTheParametersThatItSays) {
  std::vector<MultimodalConfig> configs{config_of("vit-pico", "pico", qwen), config_of("vit-nano", "nano", perceiver),
                                        config_of("vit-pico", "nano", {.kind = ResamplerKind::linear}),
                                        config_of("vit-pico", "pico", {.kind = ResamplerKind::mlp}),
                                        config_of("vit-pico", "nano", qformer)};
  configs[0].lora.targets = {"q_proj", "down_proj"};
  configs[1].vision->class_token = true;
  configs[1].vision->output_layer = -2;
  configs[2].vision->pre_norm = false;
  configs[2].decoder.tied = false;
  configs[3].trainable = {.vision = true, .resampler = false, .decoder = true};
  for (const MultimodalConfig& config : configs) {
    const std::vector<BlockCost> costs = block_costs(config, {}, {.dtype = DType::f32});
    const auto check_range = [&](BlockRange range) {
      Multimodal model(config, DType::f32, cpu(), {range});
      std::int64_t trained = 0, frozen = 0;
      for (const NamedParameter& entry : all_parameters(model)) {
        (entry.parameter->trainable ? trained : frozen) += entry.parameter->shape.numel();
      }
      const BlockCost cost = piece_cost(costs, range);
      EXPECT_EQ(cost.trained, trained) << name_of(model_blocks(config)[range.begin]);
      EXPECT_EQ(cost.frozen, frozen) << name_of(model_blocks(config)[range.begin]);
    };
    const bool torn = config.decoder.tied && config.trainable.decoder;
    for (std::int64_t i = 0; i < all_blocks(config).end; ++i) {
      const BlockKind kind = model_blocks(config)[i].kind;
      if (!torn || (kind != BlockKind::embedding && kind != BlockKind::head)) check_range({i, i + 1});
    }
    check_range(all_blocks(config));
  }
}

struct Case {
  const char* name;
  MultimodalConfig config;
  DType dtype = DType::bf16;
};

std::vector<Case> cases() {
  std::vector<Case> all{{"pico", config_of("vit-pico", "pico", qwen)},
                        {"nano", config_of("vit-nano", "nano", {.kind = ResamplerKind::qwen})},
                        {"nano_perceiver", config_of("vit-nano", "nano", perceiver)},
                        {"pico_f32", config_of("vit-pico", "pico", qwen), DType::f32},
                        {"pico_mlp", config_of("vit-pico", "pico", {.kind = ResamplerKind::mlp})},
                        {"recompute", config_of("vit-nano", "nano", {.kind = ResamplerKind::qwen})},
                        {"q_and_v", config_of("vit-pico", "pico", qwen)},
                        {"trained_vision", config_of("vit-nano", "pico", qwen)},
                        {"nano_int8", config_of("vit-nano", "nano", {.kind = ResamplerKind::qwen})},
                        {"nano_nf4", config_of("vit-nano", "nano", {.kind = ResamplerKind::qwen})},
                        {"pico_qformer", config_of("vit-pico", "pico", qformer)},
                        {"recompute_branches", config_of("vit-nano", "nano", {.kind = ResamplerKind::qwen})},
                        {"pico_recompute_branches", config_of("vit-pico", "pico", qwen)},
                        {"q_and_v_recompute_branches", config_of("vit-pico", "pico", qwen)}};
  all[5].config.recompute = Recompute::full;
  all[6].config.lora.targets = {"q_proj", "v_proj"};
  all[7].config.trainable.vision = true;
  all[8].config.quantization = Quantization{QuantizedFormat::int8, false};
  all[9].config.quantization = Quantization{QuantizedFormat::nf4, true};
  for (std::size_t i = 11; i < all.size(); ++i) all[i].config.recompute = Recompute::attention_mlp;
  all[13].config.lora.targets = {"q_proj", "v_proj"};
  return all;
}

class CostOf : public ::testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(, CostOf, ::testing::ValuesIn(cases()), [](const auto& info) { return info.param.name; });

TEST_P(CostOf, MemoryIsWhatTheAllocatorSees) {
  const auto& [name, config, dtype] = GetParam();
  CachingAllocator& memory = cpu().allocator();
  const auto now = [&](Purpose purpose) { return static_cast<double>(memory.use(purpose).current); };
  const double before = now(Purpose::weights), idle = now(Purpose::activations);
  const auto model = random_model(config, dtype);
  Batch batch = batch_of(config, samples, dtype);
  const std::vector<BlockCost> blocks = block_costs(config, counts_of(*model, batch), compute_form(dtype, cpu()));
  const BlockCost cost = piece_cost(blocks, all_blocks(config));
  EXPECT_NEAR(now(Purpose::weights) - before, cost.weights, 0.1 * cost.weights);

  const auto expect_kept = [&](BlockRange piece, double predicted) {
    Graph graph;
    const Variable input =
        piece.begin == 0 ? Variable()
                         : graph.input(Tensor::zeros(boundary_shape(config, piece.begin, model->sizes(batch)), dtype));
    const double without = now(Purpose::activations);
    const Variable output = model->run(piece, graph, input, batch);
    EXPECT_NEAR(now(Purpose::activations) - without - static_cast<double>(output.value().bytes()) +
                    static_cast<double>(input.defined() ? input.value().bytes() : 0),
                predicted, 0.1 * predicted);
  };
  const std::int64_t layer = first_block(config, BlockKind::layer);
  expect_kept({layer + 1, layer + 2}, blocks[layer + 1].kept);

  memory.reset_peak();
  Graph graph;
  Variable loss;  // block by block, as a pipeline's executor runs them: pixels go once the first has read them
  for (std::int64_t block = 0; block < all_blocks(config).end; ++block) {
    loss = model->run({block, block + 1}, graph, loss, batch);
    batch.pixels = Tensor();
  }
  EXPECT_NEAR(now(Purpose::activations) - idle, cost.kept, 0.1 * cost.kept) << "kept for backward";
  graph.backward(loss, Tensor::full({1}, DType::f32, 1));
  const double peak = static_cast<double>(memory.use(Purpose::activations).peak) - idle;
  const double predicted = cost.kept + std::max(cost.forward_peak, cost.backward_peak);
  EXPECT_NEAR(peak, predicted, 0.1 * predicted) << "the most at once";
}

TEST(Cost, WhatNothingTrainsBeforeHasNoBackward) {
  MultimodalConfig config = config_of("vit-pico", "pico", qwen);
  const StepCounts counts{.tokens = 64, .labels = 16, .images = 2, .resampled = 2, .mean_length = 32};
  const std::vector<BlockCost> trained = block_costs(config, counts, {});
  EXPECT_EQ(trained[0].backward, 0);
  EXPECT_EQ(trained[0].weight_gradient, 0);
  EXPECT_GT(trained[2].weight_gradient, 0);
  const double linear = 2.0 * 64 * static_cast<double>(trained[4].frozen - 2 * config.decoder.width);
  EXPECT_GT(trained[4].backward, linear);
  EXPECT_LT(trained[4].weight_gradient, 0.3 * linear);
  config.lora.rank = 0;
  config.trainable.resampler = false;
  for (const BlockCost& cost : block_costs(config, counts, {})) {
    EXPECT_EQ(cost.backward + cost.weight_gradient + cost.recompute, 0);
    EXPECT_GT(cost.forward + cost.weights, 0);
  }
  config.trainable.resampler = true;
  config.recompute = Recompute::full;
  const std::vector<BlockCost> again = block_costs(config, counts, {});
  const auto product = [&](std::int64_t in) { return 2.0 * 64 * static_cast<double>(in * config.decoder.width); };
  EXPECT_EQ(again[4].recompute, again[4].forward - product(config.decoder.ffn)) << "all but the last product";
  EXPECT_EQ(again[4].weight_gradient, 0);
  EXPECT_LT(again[4].kept, trained[4].kept / 5);
  config.recompute = Recompute::attention_mlp;
  const std::vector<BlockCost> branches = block_costs(config, counts, {});
  const std::int64_t heads = config.decoder.heads * config.decoder.head_width;
  EXPECT_EQ(branches[4].recompute, branches[4].forward - product(config.decoder.ffn) - product(heads));
  EXPECT_GT(branches[4].kept, 3.9 * again[4].kept);
  EXPECT_LT(branches[4].kept, trained[4].kept / 2);
}

}  // namespace
}  // namespace skymm::testing
