// A model in pieces is the whole model: wherever it is cut, whatever is in the batch, bit for bit.
#include "ops/models/cut.hpp"

#include <algorithm>
#include <deque>
#include <set>

#include "core/error.hpp"
#include "support/models.hpp"

namespace skymm::testing {
namespace {

MultimodalConfig pico_config() {
  MultimodalConfig config;
  config.vision = vision_preset("vit-pico");
  config.decoder = decoder_preset("pico");
  config.resampler = {.kind = ResamplerKind::qwen, .queries = 4, .heads = 2};
  config.lora = {.rank = 3, .alpha = 6, .dropout = 0.2F};
  config.head_chunk_rows = 4;
  return config;
}

MultimodalConfig nano_config() {
  MultimodalConfig config = pico_config();
  config.vision = vision_preset("vit-nano");
  config.vision->class_token = true;
  config.decoder = decoder_preset("nano");
  config.decoder.vocabulary = 512;
  config.resampler = {.kind = ResamplerKind::perceiver, .queries = 9, .heads = 2, .head_width = 16, .depth = 1};
  return config;
}

// Pico with less of the same.
MultimodalConfig short_config() {
  MultimodalConfig config = pico_config();
  config.decoder.layers = 3;
  return config;
}

MultimodalConfig small_nano_config() {
  MultimodalConfig config = nano_config();
  config.vision->layers = 2;
  return config;
}

const std::vector<std::vector<Sample>> batches{{{0, 7, true}, {1, 5, true}},                  // pictures
                                               {{2, 6, false}, {3, 5, false}},                // text alone
                                               {{4, 7, true}, {5, 5, false}, {6, 3, true}}};  // mixed

std::vector<BlockRange> cut_at(const MultimodalConfig& config, const std::vector<std::int64_t>& cuts) {
  std::vector<BlockRange> pieces{{0, all_blocks(config).end}};
  for (const std::int64_t cut : cuts) {
    pieces.back().end = cut;
    pieces.push_back({cut, all_blocks(config).end});
  }
  return pieces;
}

// A piece at work on a micro-batch, as a stage of a pipeline sees it.
struct Stage {
  Multimodal& model;
  BlockRange piece;
  Graph graph{};
  Variable input, output;
};

std::vector<Result> run_all(Multimodal& model, const std::vector<Batch>& all) {
  std::vector<Result> results;
  for (const Batch& batch : all) results.push_back(run(model, batch));
  return results;
}

std::vector<Batch> batches_of(const MultimodalConfig& config, DType dtype = DType::f32) {
  std::vector<Batch> all;
  for (const auto& samples : batches) {
    if (config.vision || !samples[0].image) all.push_back(batch_of(config, samples, dtype));
  }
  return all;
}

// What crosses is as the sizes promise; a stage that gets no gradient does no backward.
Result run_pieces(const std::vector<Multimodal*>& models, const std::vector<BlockRange>& pieces, const Batch& batch,
                  Graph::Weights weights = Graph::Weights::now) {
  const MultimodalConfig& config = models[0]->config();
  const BatchSizes sizes = models[0]->sizes(batch);
  for (Multimodal* model : models) clear_gradients(*model);
  std::deque<Stage> stages;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    Stage& stage = stages.emplace_back(*models[i], pieces[i]);
    Batch known = batch;
    if (i > 0) {
      const Shape shape = boundary_shape(config, stage.piece.begin, sizes);
      const bool gradient = gradient_crosses(config, stage.piece.begin, sizes);
      const Variable& sent = stages[i - 1].output;
      EXPECT_EQ(sent.defined(), shape[0] > 0);
      if (sent.defined()) {
        EXPECT_EQ(sent.value().shape(), shape);
        EXPECT_EQ(sent.value().dtype(), models[i]->dtype());
        EXPECT_EQ(sent.needs_gradient(), gradient) << "in front of block " << stage.piece.begin;
        const Tensor received = sent.value().clone();
        stage.input = gradient ? stage.graph.input(received) : stage.graph.constant(received);
      } else {
        EXPECT_FALSE(gradient);
      }
      known.pixels = Tensor();  // who has no block of the ViT never gets them
    }
    stage.output = stage.model.run(stage.piece, stage.graph, stage.input, known);
  }
  Result result{stages.back().output.value().item(), {}};
  Tensor gradient = Tensor::full({1}, DType::f32, 1);
  for (auto stage = stages.rbegin(); stage != stages.rend() && gradient.defined(); ++stage) {
    stage->graph.backward(stage->output, gradient, weights);
    const bool crosses = stage->input.defined() && stage->input.needs_gradient();
    gradient = crosses ? stage->graph.gradient(stage->input) : Tensor();
    EXPECT_EQ(gradient.defined(), crosses);
    if (crosses) {
      EXPECT_EQ(gradient.shape(), stage->input.value().shape());
    }
  }
  for (Stage& stage : stages) stage.graph.weight_gradients();
  for (Multimodal* model : models) take_gradients(*model, result);
  return result;
}

std::string names(const MultimodalConfig& config, const std::vector<BlockRange>& pieces) {
  std::string text = "pieces from";
  for (const BlockRange piece : pieces) {
    text += ' ';
    text += name_of(model_blocks(config)[piece.begin]);
  }
  return text;
}

class CutOf : public ::testing::TestWithParam<MultimodalConfig (*)()> {};
INSTANTIATE_TEST_SUITE_P(, CutOf, ::testing::Values(&pico_config, &nano_config),
                         [](const auto& info) { return info.index == 0 ? "pico" : "nano"; });

TEST_P(CutOf, TwoPiecesThatHoldTheirOwnAreTheWhole) {
  const MultimodalConfig config = GetParam()();
  const std::vector<Batch> all = batches_of(config);
  const std::vector<Result> whole = run_all(*random_model(config), all);
  for (std::int64_t cut = 1; cut < all_blocks(config).end; ++cut) {
    const std::vector<BlockRange> pieces = cut_at(config, {cut});
    SCOPED_TRACE(names(config, pieces));
    const auto first = random_model(config, {pieces[0]}), second = random_model(config, {pieces[1]});
    for (std::size_t i = 0; i < all.size(); ++i) {
      EXPECT_TRUE(run_pieces({first.get(), second.get()}, pieces, all[i]) == whole[i]);
    }
  }
}

TEST_P(CutOf, ThreePiecesAreTheWhole) {
  const MultimodalConfig config = GetParam()();
  const auto model = random_model(config);
  const std::int64_t blocks = all_blocks(config).end;
  const Batch batch = batch_of(config, batches[2]);
  const Result whole = run(*model, batch);
  EXPECT_GT(whole.gradients.size(), static_cast<std::size_t>(2 * 7 * config.decoder.layers));  // LoRA and more
  for (std::int64_t a = 1; a + 1 < blocks; ++a) {
    for (std::int64_t b = a + 1; b < blocks; ++b) {
      const std::vector<BlockRange> pieces = cut_at(config, {a, b});
      EXPECT_TRUE(run_pieces({model.get(), model.get(), model.get()}, pieces, batch) == whole) << names(config, pieces);
    }
  }
}

struct Setting {
  const char* name;
  void (*change)(MultimodalConfig&);
  DType dtype = DType::f32;
  Graph::Weights weights = Graph::Weights::now;
};

const std::vector<Setting> settings{
    {"trained_vision", [](MultimodalConfig& c) { c.trainable.vision = true; }},
    {"trained_vision_alone",
     [](MultimodalConfig& c) {
       c.trainable = {.vision = true, .resampler = false};
       c.lora.rank = 0;
     }},
    {"frozen_resampler", [](MultimodalConfig& c) { c.trainable.resampler = false; }},
    {"resampler_alone", [](MultimodalConfig& c) { c.lora.rank = 0; }},
    {"trained_decoder",
     [](MultimodalConfig& c) {
       c.trainable.decoder = true;
       c.lora.rank = 0;
       c.decoder.tied = false;
     }},
    {"text_only", [](MultimodalConfig& c) { c.vision.reset(); }},
    {"embeddings_for_a_vit", [](MultimodalConfig& c) { c.vision->output_layer = 0; }},
    {"recompute", [](MultimodalConfig& c) { c.recompute = Recompute::full; }},
    {"recompute_branches", [](MultimodalConfig& c) { c.recompute = Recompute::attention_mlp; }},
    {"bf16", [](MultimodalConfig&) {}, DType::bf16},
    {"deferred", [](MultimodalConfig&) {}, DType::f32, Graph::Weights::deferred},
};

class CutWith : public ::testing::TestWithParam<Setting> {};
INSTANTIATE_TEST_SUITE_P(, CutWith, ::testing::ValuesIn(settings), [](const auto& info) { return info.param.name; });

TEST_P(CutWith, EveryCutIsTheWhole) {
  MultimodalConfig config = short_config();
  GetParam().change(config);
  const std::vector<Batch> all = batches_of(config, GetParam().dtype);
  const std::vector<Result> whole = run_all(*random_model(config, GetParam().dtype), all);
  for (std::int64_t cut = 1; cut < all_blocks(config).end; ++cut) {
    const std::vector<BlockRange> pieces = cut_at(config, {cut});
    SCOPED_TRACE(names(config, pieces));
    const auto first = random_model(config, {pieces[0]}, GetParam().dtype);
    const auto second = random_model(config, {pieces[1]}, GetParam().dtype);
    for (std::size_t i = 0; i < all.size(); ++i) {
      EXPECT_TRUE(run_pieces({first.get(), second.get()}, pieces, all[i], GetParam().weights) == whole[i]);
    }
  }
}

TEST(Cut, OneRankMayHoldSeveralPieces) {
  const MultimodalConfig config = short_config();
  const std::vector<BlockRange> pieces = cut_at(config, {1, 4, 6});
  const auto even = random_model(config, {pieces[0], pieces[2]}), odd = random_model(config, {pieces[1], pieces[3]});
  const auto whole = random_model(config);
  const Batch batch = batch_of(config, batches[2]);
  EXPECT_TRUE(run_pieces({even.get(), odd.get(), even.get(), odd.get()}, pieces, batch) == run(*whole, batch));
}

// The blocks that have a use for a parameter, by its name.
std::set<std::string> blocks_of(const std::string& name, const MultimodalConfig& config) {
  const auto number = [&](std::string_view prefix) {
    return name.substr(prefix.size(), name.find('.', prefix.size()) - prefix.size());
  };
  if (name.starts_with("vision_model.encoder.layers."))
    return {fmt::format("vision.{}", number("vision_model.encoder.layers."))};
  if (name.starts_with("vision_model.")) return {"vision.0"};
  if (name.starts_with("resampler.")) return {"resampler"};
  if (name.starts_with("model.layers.")) return {fmt::format("layers.{}", number("model.layers."))};
  if (name != "model.embed_tokens.weight") return {"head"};
  return config.decoder.tied ? std::set<std::string>{"embedding", "head"} : std::set<std::string>{"embedding"};
}

TEST(Cut, APieceHoldsItsOwnParametersAndNoOther) {
  for (MultimodalConfig config : {short_config(), small_nano_config()}) {
    for (const bool tied : {true, false}) {
      config.decoder.tied = tied;
      Multimodal whole(config, DType::f32, cpu());
      initialize(whole, 5);
      const std::vector<ModelBlock> blocks = model_blocks(config);
      for (std::int64_t block = 0; block < all_blocks(config).end; ++block) {
        const std::string block_name = name_of(blocks[block]);
        SCOPED_TRACE(block_name);
        Multimodal piece(config, DType::f32, cpu(), {{block, block + 1}});
        initialize(piece, 5);
        const std::vector<NamedParameter> held = all_parameters(piece);
        std::size_t next = 0;  // they come in the whole model's order
        for (const NamedParameter& entry : all_parameters(whole)) {
          if (!blocks_of(entry.name, config).contains(block_name)) continue;
          ASSERT_LT(next, held.size()) << entry.name << " is missing";
          EXPECT_EQ(held[next].name, entry.name);
          EXPECT_EQ(held[next].parameter->trainable, entry.parameter->trainable);
          EXPECT_EQ(values_of(held[next].parameter->value), values_of(entry.parameter->value)) << entry.name;
          ++next;
        }
        EXPECT_EQ(next, held.size());
      }
    }
  }
}

TEST(Cut, PiecesTakeNoMoreMemoryThanTheWhole) {
  MultimodalConfig config = small_nano_config();
  config.decoder.tied = false;
  const auto bytes_of = [&](const std::vector<BlockRange>& pieces) {
    const std::size_t before = cpu().allocator().use(Purpose::weights).current;
    const auto model = random_model(config, pieces);
    return cpu().allocator().use(Purpose::weights).current - before;
  };
  std::size_t sum = 0;
  for (const BlockRange piece : cut_at(config, {1, 2, 4, 5, 8})) sum += bytes_of({piece});
  EXPECT_EQ(sum, bytes_of({all_blocks(config)}));
}

TEST(Cut, AMicroBatchWithoutLabelsCostsNothing) {
  const MultimodalConfig config = short_config();
  const auto model = random_model(config);
  for (const NamedParameter& entry : all_parameters(*model)) EXPECT_GE(entry.parameter->shape.numel(), 1);
  for (const Batch& batch : {batch_of(config, {}), batch_of(config, {{0, 1, true}})}) {
    const BatchSizes sizes = model->sizes(batch);
    ASSERT_EQ(sizes.labels, 0);
    const std::vector<BlockRange> pieces = cut_at(config, {1, 3, 5});
    for (const BlockRange piece : pieces) {
      if (piece.begin > 0) {
        EXPECT_EQ(boundary_shape(config, piece.begin, sizes)[0], 0);
        EXPECT_FALSE(gradient_crosses(config, piece.begin, sizes));
      }
      Graph graph;
      const std::size_t before = cpu().allocator().use(Purpose::activations).current;
      const Variable output = model->run(piece, graph, {}, batch);
      EXPECT_EQ(output.defined(), piece.end == all_blocks(config).end);
      if (output.defined()) {
        EXPECT_EQ(output.value().item(), 0);
      }
      EXPECT_LE(cpu().allocator().use(Purpose::activations).current, before + 64);
    }
  }
}

TEST(Cut, BlocksHaveReadableNames) {
  std::vector<std::string> all;
  for (const ModelBlock& block : model_blocks(short_config())) all.push_back(name_of(block));
  EXPECT_EQ(all, (std::vector<std::string>{"vision.0", "vision.1", "resampler", "embedding", "layers.0", "layers.1",
                                           "layers.2", "head"}));
  MultimodalConfig text = short_config();
  text.vision.reset();
  EXPECT_EQ(all_blocks(text), (BlockRange{0, 5}));
  EXPECT_EQ(indices_of(short_config(), BlockKind::layer, {2, 6}), (BlockRange{0, 2}));
  EXPECT_EQ(indices_of(short_config(), BlockKind::layer, {6, 8}), (BlockRange{2, 3}));
  EXPECT_EQ(indices_of(short_config(), BlockKind::vision, {3, 6}).size(), 0);
}

TEST(Cut, MistakesAreNamed) {
  const auto message = [](const auto& body) -> std::string {
    try {
      body();
    } catch (const Error& error) {
      return error.message();
    }
    return "no error";
  };
  MultimodalConfig config = short_config();
  const auto model = random_model(config, {{4, 6}});
  const Batch batch = batch_of(config, batches[2]);
  Graph graph;
  EXPECT_THAT(message([&] { model->run({4, 7}, graph, {}, batch); }), ::testing::HasSubstr("into block 4"));
  const Variable x = graph.constant(Tensor::zeros({batch.tokens.dim(0), config.decoder.width}, DType::f32));
  EXPECT_THAT(message([&] { model->run({4, 7}, graph, x, batch); }), ::testing::HasSubstr("[4, 7)"));
  EXPECT_EQ(model->run({4, 6}, graph, x, batch).value().shape(), x.value().shape());
  EXPECT_THAT(message([&] { boundary_shape(config, 0, {}); }), ::testing::HasSubstr("in front of block 0"));
  EXPECT_THAT(message([&] {
                Multimodal(config, DType::f32, cpu(), {{2, 4}, {3, 5}});
              }),
              ::testing::HasSubstr("[3, 5)"));
  config.trainable.decoder = true;
  config.lora.rank = 0;
  EXPECT_THAT(message([&] { Multimodal(config, DType::f32, cpu(), {{0, 5}}); }), ::testing::HasSubstr("one rank"));
  EXPECT_EQ(message([&] { Multimodal(config, DType::f32, cpu(), {{4, 7}}); }), "no error");
  EXPECT_EQ(message([&] { Multimodal(config, DType::f32, cpu(), {{0, 5}, {7, 8}}); }), "no error");
}

}  // namespace
}  // namespace skymm::testing
