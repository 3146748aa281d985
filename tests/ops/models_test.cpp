// What the models promise beyond their numbers: recomputation, deferral, streams, packing, merging, freezing.
#include "support/models.hpp"

#include <cmath>
#include <limits>

#include "core/error.hpp"
#include "ops/layers/init.hpp"
#include "ops/models/cost.hpp"
#include "ops/models/lvm.hpp"
#include "ops/models/resampler.hpp"

namespace skymm::testing {
namespace {

MultimodalConfig small_config() {
  MultimodalConfig config;
  config.vision = vision_preset("vit-pico");
  config.decoder = {.vocabulary = 61, .width = 32, .layers = 2, .heads = 4, .kv_heads = 2, .head_width = 8, .ffn = 48};
  config.resampler = {.kind = ResamplerKind::qwen, .queries = 4, .heads = 2};
  config.lora = {.rank = 3, .alpha = 6, .dropout = 0.2F};
  config.head_chunk_rows = 4;
  return config;
}

Batch batch_of(const std::vector<Sample>& samples, DType dtype = DType::f32) {
  return batch_of(small_config(), samples, dtype);
}

const std::vector<Sample> mixed{{0, 7, true}, {1, 5, false}, {2, 3, true}};

double norm(const Values& x) {
  double sum = 0;
  for (const double value : x) sum += value * value;
  return std::sqrt(sum);
}

class ModelsOf : public ::testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(, ModelsOf, ::testing::Values(DType::f32, DType::bf16),
                         [](const auto& info) { return std::string(name_of(info.param)); });

TEST_P(ModelsOf, RecomputationDeferralAndStreamsChangeNoBit) {
  const Batch batch = batch_of(mixed, GetParam());
  MultimodalConfig config = small_config();
  const Result plain = run(*random_model(config, GetParam()), batch);
  EXPECT_EQ(plain.gradients.size(), 2 * 2 * 7 + 13U);  // LoRA of two layers, and the resampler
  for (const auto& [name, gradient] : plain.gradients) EXPECT_GT(norm(gradient), 0) << name;
  EXPECT_TRUE(run(*random_model(config, GetParam()), batch) == plain) << "the same again";
  EXPECT_TRUE(run(*random_model(config, GetParam()), batch, Graph::Weights::deferred) == plain)
      << "deferred weight gradients";
  {
    DeferredStream stream(cpu());
    const StreamScope scope(stream);
    EXPECT_TRUE(run(*random_model(config, GetParam()), batch) == plain) << "deferred stream";
  }
  for (const Recompute mode : {Recompute::attention_mlp, Recompute::full}) {
    SCOPED_TRACE(name_of(mode));
    config.recompute = mode;
    EXPECT_TRUE(run(*random_model(config, GetParam()), batch) == plain) << "recomputed";
    EXPECT_TRUE(run(*random_model(config, GetParam()), batch, Graph::Weights::deferred) == plain)
        << "recomputed and deferred";
    DeferredStream stream(cpu());
    const StreamScope scope(stream);
    EXPECT_TRUE(run(*random_model(config, GetParam()), batch) == plain) << "recomputed on a deferred stream";
  }
}

TEST(Models, LossOfABatchIsTheSumOfItsSamples) {
  const auto model = random_model(small_config());
  const Result all = run(*model, batch_of(mixed));
  double loss = 0;
  std::map<std::string, Values> sums;
  for (const Sample& sample : mixed) {
    const Result one = run(*model, batch_of({sample}));
    loss += one.loss;
    for (const auto& [name, gradient] : one.gradients) {
      Values& sum = sums[name];
      sum.resize(gradient.size());
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += gradient[i];
    }
  }
  EXPECT_NEAR(all.loss, loss, 1e-5 * loss);
  for (const auto& [name, gradient] : all.gradients) EXPECT_LE(relative_error(gradient, sums[name]), 1e-4) << name;
}

TEST(Models, TextAloneNeverRunsTheVisionPart) {
  const auto model = random_model(small_config(), DType::f32, false);
  for (const NamedParameter& entry : all_parameters(*model)) {
    const bool vision = entry.name.starts_with("vision_model") || entry.name.starts_with("resampler");
    if (vision) entry.parameter->value.fill(std::numeric_limits<double>::quiet_NaN());
  }
  model->freeze();
  const Result text = run(*model, batch_of({{1, 5, false}}));
  EXPECT_TRUE(std::isfinite(text.loss));
  for (const auto& [name, gradient] : text.gradients) EXPECT_TRUE(name.find("lora") != std::string::npos) << name;
  EXPECT_FALSE(std::isfinite(run(*model, batch_of(mixed)).loss));
}

TEST(Models, CachedFeaturesAreAsGoodAsPixels) {
  const auto model = random_model(small_config());
  Batch batch = batch_of(mixed);
  const Result from_pixels = run(*model, batch);
  batch.features = model->features(batch.pixels);
  batch.pixels = Tensor();
  EXPECT_TRUE(run(*model, batch) == from_pixels);
}

TEST(Models, AModelOfFeaturesNeedsNoVit) {
  MultimodalConfig config = small_config();
  const auto seeing = random_model(config);
  Batch batch = batch_of(mixed);
  const Result from_pixels = run(*seeing, batch);
  batch.features = seeing->features(batch.pixels);
  batch.pixels = Tensor();
  config.features = true;
  const auto model = random_model(config);
  model->drop_vision();
  EXPECT_THROW(seeing->drop_vision(), Error);
  for (const NamedParameter& entry : all_parameters(*model)) EXPECT_FALSE(entry.name.starts_with("vision_model"));
  EXPECT_TRUE(run(*model, batch) == from_pixels);
  EXPECT_GT(run(*model, batch_of({{1, 5, false}})).loss, 0);
  Graph graph;
  Variable x;
  for (std::int64_t block = 0; block < all_blocks(config).end; ++block) {  // as a pipeline cuts it
    if (block > 0) {
      EXPECT_EQ(x.value().shape(), boundary_shape(config, block, model->sizes(batch)));
    }
    x = model->run({block, block + 1}, graph, x, batch);
  }
  EXPECT_EQ(x.value().item(), from_pixels.loss);
  config.trainable.vision = true;
  EXPECT_THROW(Multimodal(config, DType::f32, cpu()), Error);
}

TEST(Models, ABatchWithoutLabelsCostsNothing) {
  const auto model = random_model(small_config());
  const Result none = run(*model, batch_of({}));
  EXPECT_EQ(none.loss, 0);
  EXPECT_TRUE(none.gradients.empty());
}

TEST(Models, EachTrainedParameterIsReportedCompleteOnce) {
  for (const Recompute recompute : {Recompute::none, Recompute::attention_mlp, Recompute::full}) {
    MultimodalConfig config = small_config();
    config.recompute = recompute;
    const auto model = random_model(config);
    std::map<const Parameter*, int> completed;
    Graph graph;
    graph.on_complete([&](Parameter& parameter) { ++completed[&parameter]; });
    const Variable loss = model->loss(graph, batch_of(mixed));
    graph.backward(loss, Tensor::full({1}, DType::f32, 1));
    for (const NamedParameter& entry : trainable_parameters(*model)) EXPECT_EQ(completed[entry.parameter], 1);
    EXPECT_EQ(completed.size(), trainable_parameters(*model).size());
  }
}

TEST(Models, MergedLoraAnswersTheSameAndUnmergesAgain) {
  for (const Packing packing : {Packing::none, Packing::both}) {
    MultimodalConfig config = small_config();
    config.packing = packing;
    const auto model = random_model(config);
    Batch batch = batch_of(mixed);
    batch.training = false;
    const auto logits = [&] {
      Graph graph(Graph::Mode::inference);
      return values_of(model->logits(graph, batch, batch.label_rows));
    };
    const Values before = logits();
    model->merge_lora();
    EXPECT_LE(relative_error(logits(), before), 1e-5);
    EXPECT_THROW(model->merge_lora(), Error);
    model->unmerge_lora();
    EXPECT_LE(relative_error(logits(), before), 1e-5);
    // Without LoRA it answers something else, so that the above says something.
    for (const NamedParameter& entry : trainable_parameters(*model)) {
      if (entry.name.find("lora_B") != std::string::npos) entry.parameter->value.fill(0);
    }
    EXPECT_GT(relative_error(logits(), before), 1e-2);
  }
}

TEST(Models, AllTrainableDecoderWithTiedHeadHasTheRightGradient) {
  MultimodalConfig config = small_config();
  config.vision.reset();
  config.lora.rank = 0;
  config.trainable.decoder = true;
  const auto model = random_model(config);
  const Batch batch = batch_of({{1, 7, false}, {4, 9, false}});
  const Result result = run(*model, batch);
  for (const NamedParameter& entry : trainable_parameters(*model)) {
    SCOPED_TRACE(entry.name);
    ASSERT_TRUE(result.gradients.contains(entry.name));
    const Tensor direction = random_tensor(entry.parameter->shape, DType::f32, 3, 0.05), value = entry.parameter->value;
    double analytic = 0;
    const Values v = values_of(direction);
    for (std::size_t i = 0; i < v.size(); ++i) analytic += v[i] * result.gradients.at(entry.name)[i];
    const auto loss = [&](float step) {
      const Tensor kept = value.clone();
      value.add(direction, step);
      Graph graph(Graph::Mode::inference);
      const double sum = model->loss(graph, batch).value().item();
      value.copy_from(kept);
      return sum;
    };
    const double numeric = (loss(0.05F) - loss(-0.05F)) / 0.1;
    EXPECT_NEAR(analytic, numeric, 0.02 * std::abs(numeric) + 2e-3);
  }
}

TEST(Models, InitialWeightsDependOnSeedAndNameAlone) {
  MultimodalConfig config = small_config();
  const auto model = random_model(config);
  config.decoder.layers = 1;
  config.vision.reset();
  config.lora.rank = 0;
  Multimodal other(config, DType::f32, cpu());
  initialize(other, 5);
  std::map<std::string, Values> values;
  Multimodal whole(small_config(), DType::f32, cpu());
  initialize(whole, 5);
  for (const NamedParameter& entry : all_parameters(whole)) values[entry.name] = values_of(entry.parameter->value);
  for (const NamedParameter& entry : all_parameters(other)) {
    EXPECT_EQ(values.at(entry.name), values_of(entry.parameter->value)) << entry.name;
  }
  initialize(other, 6);
  int changed = 0;
  for (const NamedParameter& entry : all_parameters(other)) {
    changed += values.at(entry.name) != values_of(entry.parameter->value) ? 1 : 0;
  }
  EXPECT_EQ(changed, 1 + 7);  // the table and a layer's matrices; norms are ones
}

TEST(Models, PresetsHaveTheKnownNumbersOfParameters) {
  const auto count = [](const DecoderConfig& d) {
    const std::int64_t q = d.heads * d.head_width, kv = d.kv_heads * d.head_width;
    const std::int64_t layer = d.width * (2 * q + 2 * kv + 3 * d.ffn + 2);
    return d.layers * layer + d.width * (1 + d.vocabulary * (d.tied ? 1 : 2));
  };
  EXPECT_NEAR(static_cast<double>(count(decoder_preset("smollm2-135m"))), 134.5e6, 0.1e6);
  EXPECT_NEAR(static_cast<double>(count(decoder_preset("tinyllama-1.1b"))), 1.100e9, 0.001e9);
  EXPECT_NEAR(static_cast<double>(count(decoder_preset("llama-13b"))), 13.016e9, 0.001e9);
  EXPECT_NEAR(static_cast<double>(count(decoder_preset("skywork-13b"))), 13.854e9, 0.01e9);
  EXPECT_EQ(vision_preset("clip-vit-l14").tokens(), 257);
  EXPECT_EQ(vision_preset("clip-vit-l14-336").tokens(), 577);
  EXPECT_EQ(vision_preset("vit-nano").patches(), 49);
  EXPECT_EQ(decoder_preset("pico").layers, 16);
  EXPECT_EQ(decoder_preset("pico").width, 64);
}

TEST(Models, BadSettingsSayWhatThereIs) {
  try {
    decoder_preset("smollm");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("smollm2-135m"));
  }
  MultimodalConfig config = small_config();
  config.lora.targets = {"q_proj", "w1"};
  EXPECT_THROW(Multimodal(config, DType::f32, cpu()), Error);
  config = small_config();
  config.resampler.queries = 5;
  EXPECT_THROW(Multimodal(config, DType::f32, cpu()), Error);
  config = small_config();
  config.vision.reset();
  const auto text_only = random_model(config);
  EXPECT_THROW(run(*text_only, batch_of(mixed)), Error);
}

// What positions add: without them the resampler sees a set of patches.
TEST(Models, ResamplerWithoutPositionsTakesPatchesInAnyOrder) {
  MultimodalConfig config = small_config();
  const std::int64_t patches = config.vision->patches(), width = config.vision->width;
  const Tensor features = random_tensor({patches, width}, DType::f32, 8, 1);
  const Tensor turned = Tensor::empty({patches, width}, DType::f32);
  for (std::int64_t i = 0; i < patches; ++i) {
    turned.slice(0, i, i + 1).copy_from(features.slice(0, patches - 1 - i, patches - i));
  }
  for (const bool positions : {true, false}) {
    config.resampler.positions = positions;
    const auto resampler = make_resampler(config.resampler, *config.vision, config.decoder.width, DType::f32, cpu());
    initialize(*resampler, 5);
    Graph graph;
    const auto tokens = [&](const Tensor& x) { return values_of(resampler->forward(graph.input(x), 1).value()); };
    const double difference = relative_error(tokens(features), tokens(turned));
    if (positions) {
      EXPECT_GT(difference, 1e-3);
    } else {
      EXPECT_LT(difference, 1e-5);
    }
  }
}

TEST(Models, TableSaysWhatTrains) {
  MultimodalConfig config = small_config();
  config.lora.targets = {"q_proj", "v_proj"};
  const auto model = random_model(config);
  std::int64_t lora = 0;
  for (const NamedParameter& entry : trainable_parameters(*model)) {
    if (entry.name.find("lora") != std::string::npos) lora += entry.parameter->shape.numel();
  }
  EXPECT_EQ(lora, 2 * 3 * ((32 + 32) + (32 + 16)));
  const std::string table = trainable_table(*model);
  EXPECT_THAT(table, ::testing::ContainsRegex("LoRA +trains +8 +672"));
  EXPECT_THAT(table, ::testing::ContainsRegex("vision_model +frozen"));
  EXPECT_THAT(table, ::testing::ContainsRegex("resampler +trains +13"));
  EXPECT_THAT(table, ::testing::ContainsRegex("total +frozen"));
}

TEST(Models, UsefulWorkOfAFrozenDecoderIsFourAWeight) {
  MultimodalConfig config;
  config.decoder = decoder_preset("llama-13b");
  config.lora = {.rank = 8, .targets = {"q_proj"}};
  const StepCost cost = step_cost(config, {.tokens = 100, .labels = 10, .mean_length = 0});
  const double block = 4.0 * 5120 * 5120 + 3.0 * 5120 * 13824, lora = 8 * (5120.0 + 5120.0);
  EXPECT_DOUBLE_EQ(cost.decoder, 40 * 100 * (4 * block + 6 * lora));
  EXPECT_DOUBLE_EQ(cost.head, 10 * 5120.0 * 32000 * 4);
  EXPECT_EQ(cost.vision + cost.resampler, 0);
}

TEST(Lvm, LearnsTheNamesOfPatches) {
  const LvmConfig config{.vision = vision_preset("vit-pico"), .vocab = 20, .text_width = 16, .embedding = 16};
  Lvm lvm(config, DType::f32, 3);
  for (const NamedParameter& entry : all_parameters(lvm)) entry.parameter->trainable = true;
  TextBatch names;
  for (const std::vector<std::int32_t>& text : {std::vector{1, 2}, {3}, {4, 5, 6}}) names.add(text);
  const Tensor pixels = random_tensor({2, 3, 28, 28}, DType::f32, 4), labels = ids({0, 1, 2, -1, 2, 1, 0, 0});
  const auto step = [&](float rate) {
    Graph graph;
    const Variable patches = lvm.patches(graph, pixels);
    const Variable texts = lvm.text_embedding(graph, names);
    const Variable loss = name_loss(lvm.patch_embedding(patches), texts, labels, config.scale, 1.0F);
    EXPECT_EQ(lvm.image_embedding(patches).value().shape(), (Shape{2, 16}));
    graph.backward(loss, Tensor::full({1}, DType::f32, 1));
    for (const NamedParameter& entry : trainable_parameters(lvm)) {
      if (entry.parameter->gradient.defined()) entry.parameter->value.add(entry.parameter->gradient, -rate);
      entry.parameter->clear_gradient();
    }
    return loss.value().item();
  };
  const double first = step(2e-3F);
  double last = first;
  for (int i = 0; i < 60; ++i) last = step(2e-3F);
  EXPECT_LT(last, 0.5 * first);
}

}  // namespace
}  // namespace skymm::testing
