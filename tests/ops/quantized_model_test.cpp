// A model with frozen weights in few bits is the model of the weights that its codes say.
#include <map>

#include "core/error.hpp"
#include "ops/models/multimodal.hpp"
#include "support/support.hpp"

namespace skymm::testing {
namespace {

constexpr Quantization every_way[] = {
    {QuantizedFormat::int8, false}, {QuantizedFormat::nf4, false}, {QuantizedFormat::nf4, true}};

Tensor ids(const std::vector<std::int32_t>& values) {
  return Tensor::from(values, {static_cast<std::int64_t>(values.size())});
}

MultimodalConfig config_with(const std::optional<Quantization>& quantization, Recompute recompute = Recompute::none) {
  MultimodalConfig config;
  config.vision = vision_preset("vit-pico");
  config.decoder = {.vocabulary = 61,
                    .width = 64,
                    .layers = 2,
                    .heads = 4,
                    .kv_heads = 2,
                    .head_width = 16,
                    .ffn = 96,
                    .tied = false};
  config.resampler = {.kind = ResamplerKind::qwen, .queries = 4, .heads = 2};
  config.lora = {.rank = 3, .alpha = 6, .dropout = 0.2F};
  config.quantization = quantization;
  config.recompute = recompute;
  return config;
}

// A picture of four visual tokens and eight tokens of text; a text of five.
Batch batch_of() {
  RandomStream random(77);
  Batch batch;
  std::vector<std::int32_t> tokens, positions, row_ids;
  for (const auto& [sample, length] : {std::pair{0, 12}, std::pair{1, 5}}) {
    for (int t = 0; t < length; ++t) {
      tokens.push_back(sample == 0 && t < 4 ? -1 : static_cast<std::int32_t>(random.below(61)));
      positions.push_back(t);
      row_ids.insert(row_ids.end(), {sample, t});
    }
  }
  batch.tokens = ids(tokens);
  batch.positions = ids(positions);
  batch.sequence_offsets = ids({0, 12, 17});
  batch.max_length = 12;
  batch.label_rows = ids({3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15});
  batch.label_ids = ids({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  batch.visual_rows = ids({0, 1, 2, 3});
  batch.pixels = random_tensor({1, 3, 28, 28}, DType::f32, 9);
  batch.row_ids = Tensor::from(row_ids, {17, 2});
  batch.random = {.seed = 9, .step = 3};
  batch.training = true;
  return batch;
}

std::unique_ptr<Multimodal> make(const MultimodalConfig& config) {
  auto model = std::make_unique<Multimodal>(config, DType::f32, cpu());
  initialize(*model, 5);
  for (const NamedParameter& entry : all_parameters(*model)) {  // B is zero after initialize: then A has no gradient
    if (entry.name.find("lora_B") != std::string::npos) {
      entry.parameter->value.copy_from(random_tensor(entry.parameter->shape, DType::f32, 6, 0.2));
    }
  }
  return model;
}

// With the frozen weights that the codes of `model` say.
std::unique_ptr<Multimodal> plain_twin(Multimodal& model) {
  MultimodalConfig config = model.config();
  config.quantization.reset();
  auto twin = make(config);
  std::map<std::string, Parameter*> by_name;
  for (const NamedParameter& entry : all_parameters(model)) by_name[entry.name] = entry.parameter;
  for (const NamedParameter& entry : all_parameters(*twin)) {
    const Parameter& from = *by_name.at(entry.name);
    from.quantized.defined() ? load(*entry.parameter, from.quantized) : load(*entry.parameter, from.value);
  }
  return twin;
}

struct Outcome {
  double loss = 0;
  std::map<std::string, Values> gradients;
};

Outcome step(Multimodal& model) {
  Graph graph;
  const Variable loss = model.loss(graph, batch_of());
  graph.backward(loss, Tensor::full({1}, DType::f32, 1));
  Outcome outcome{loss.value().item(), {}};
  for (const NamedParameter& entry : trainable_parameters(model)) {
    outcome.gradients[entry.name] = values_of(entry.parameter->gradient);
    entry.parameter->clear_gradient();
  }
  return outcome;
}

TEST(QuantizedModel, HasTheLossAndGradientsOfTheDequantizedWeights) {
  for (const Quantization& how : every_way) {
    for (const Recompute recompute : {Recompute::none, Recompute::attention_mlp, Recompute::full}) {
      SCOPED_TRACE(name_of(how.format));
      const auto model = make(config_with(how, recompute));
      const auto twin = plain_twin(*model);
      model->freeze();
      twin->freeze();
      const Outcome a = step(*model), b = step(*twin);
      EXPECT_NEAR(a.loss, b.loss, 1e-4 * b.loss);
      ASSERT_EQ(a.gradients.size(), b.gradients.size());
      for (const auto& [name, gradient] : b.gradients) {
        EXPECT_LE(relative_error(a.gradients.at(name), gradient), 1e-4) << name;
      }
      EXPECT_GT(a.gradients.count("model.layers.0.self_attn.q_proj.lora_A.weight"), 0U);
    }
  }
}

TEST(QuantizedModel, HoldsNoPlainWeightOfABlock) {
  const auto model = make(config_with(every_way[1]));
  int quantized = 0;
  for (const NamedParameter& entry : all_parameters(*model)) {
    const Parameter& p = *entry.parameter;
    EXPECT_NE(p.value.defined(), p.quantized.defined()) << entry.name;
    if (!p.quantized.defined()) continue;
    ++quantized;
    EXPECT_FALSE(p.trainable) << entry.name;
  }
  EXPECT_EQ(quantized, 2 * 7 + 2 * 6 + 1);  // decoder, ViT, patch embedding
}

TEST(QuantizedModel, MergesIntoAPlainCopyAndBack) {
  const auto model = make(config_with(every_way[2]));
  model->freeze();
  Batch batch = batch_of();
  batch.training = false;
  const auto logits = [&] {
    Graph graph(Graph::Mode::inference);
    return values_of(model->logits(graph, batch, batch.label_rows));
  };
  const Values before = logits();
  model->merge_lora();
  EXPECT_LT(relative_error(logits(), before), 1e-4);
  model->unmerge_lora();
  EXPECT_EQ(logits(), before);
}

TEST(QuantizedModel, LoadsStoredCodesAsTheyAre) {
  const auto first = make(config_with(every_way[2])), second = make(config_with(every_way[2]));
  const std::vector<NamedParameter> from = all_parameters(*first), to = all_parameters(*second);
  for (std::size_t i = 0; i < from.size(); ++i) {
    const QuantizedTensor& codes = from[i].parameter->quantized;
    if (!codes.defined()) continue;
    const QuantizedTensor& copy = to[i].parameter->quantized;
    copy.codes.fill(0);
    load(*to[i].parameter, codes);
    EXPECT_EQ(values_of(copy.codes), values_of(codes.codes)) << from[i].name;
    EXPECT_EQ(values_of(copy.scales), values_of(codes.scales)) << from[i].name;
    EXPECT_EQ(values_of(copy.scale_steps), values_of(codes.scale_steps)) << from[i].name;
  }
  Parameter& other = *from.back().parameter;
  EXPECT_THROW(load(other, Tensor::zeros({1, 2}, DType::f32)), Error);
}

// A cache of keys and values gives what reading the whole sequence again gives, in whatever pieces it is filled.
TEST(KeyValueCache, GivesTheLogitsOfWholeSequences) {
  MultimodalConfig config = config_with({});
  config.vision.reset();
  const auto model = make(config);
  const std::vector<std::vector<std::int32_t>> texts{{5, 6, 7, 8, 9, 10, 11}, {1, 2, 3}, {20, 21, 22, 23, 24}};
  const std::vector<std::vector<std::int64_t>> pieces{{4, 3, 1}, {0, 0, 3}, {1, 0, 1}, {2, 0, 0}};
  const DecoderConfig& d = config.decoder;
  KeyValueCache cache(d.layers, {d.heads, d.kv_heads, d.head_width}, {7, 4, 9}, DType::f32, cpu());
  std::vector<Values> cached(texts.size());
  for (const auto& counts : pieces) {
    std::vector<std::int32_t> tokens, rows;
    for (std::size_t s = 0; s < texts.size(); ++s) {
      for (std::int64_t i = 0; i < counts[s]; ++i) {
        rows.push_back(static_cast<std::int32_t>(tokens.size()));
        tokens.push_back(texts[s][static_cast<std::size_t>(cache.length(s) + i)]);
      }
    }
    cache.extend(counts);
    Batch batch;
    batch.tokens = ids(tokens);
    batch.positions = cache.positions();
    batch.cache = &cache;
    Graph graph(Graph::Mode::inference);
    const Values logits = values_of(model->logits(graph, batch, ids(rows)));
    auto next = logits.begin();
    for (std::size_t s = 0; s < texts.size(); ++s) {
      const auto n = counts[s] * d.vocabulary;
      cached[s].insert(cached[s].end(), next, next + n);
      next += n;
    }
  }
  for (std::size_t s = 0; s < texts.size(); ++s) {
    SCOPED_TRACE(s);
    const auto n = static_cast<std::int32_t>(texts[s].size());
    std::vector<std::int32_t> positions;
    for (std::int32_t i = 0; i < n; ++i) positions.push_back(i);
    Batch batch;
    batch.tokens = ids(texts[s]);
    batch.positions = ids(positions);
    batch.sequence_offsets = ids({0, n});
    batch.max_length = n;
    Graph graph(Graph::Mode::inference);
    EXPECT_CLOSE(model->logits(graph, batch, ids(positions)), cached[s], 2e-5);
  }
  EXPECT_THROW(cache.extend(std::vector<std::int64_t>{1, 0, 0}), Error);  // it is full
}

}  // namespace
}  // namespace skymm::testing
