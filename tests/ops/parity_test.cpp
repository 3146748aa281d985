// The models against PyTorch, transformers and PEFT: values of tests/golden.
#include <cmath>

#include "core/error.hpp"
#include "ops/models/multimodal.hpp"
#include "ops/models/positions.hpp"
#include "support/golden.hpp"

namespace skymm::testing {
namespace {

constexpr double f32_bound = 1e-5, bf16_bound = 2e-2;

const Rename same = [](const std::string& name) { return name; };

// Our "model.layers.0.mlp.up_proj.lora_A.weight" is PEFT's "base_model.model.model.layers.0...".
std::string peft_name(const std::string& name) {
  return name.find(".lora_") == std::string::npos ? name : "base_model.model." + name;
}

// The names in multimodal*.safetensors and training.safetensors.
std::string multimodal_name(const std::string& name) {
  if (name.find(".lora_") != std::string::npos) return "lora." + peft_name(name);
  if (name.starts_with("vision_model.")) return "vit." + name;
  if (name == "resampler.projection.weight") return "projection.weight";
  return name.starts_with("resampler.") ? name : "decoder." + name;
}

VisionConfig golden_vision(int output_layer) {
  return {.image = 28,
          .patch = 7,
          .width = 32,
          .layers = 3,
          .heads = 4,
          .ffn = 64,
          .class_token = true,
          .output_layer = output_layer};
}

MultimodalConfig golden_config() {
  MultimodalConfig config;
  config.decoder = {
      .vocabulary = 97, .width = 32, .layers = 3, .heads = 4, .kv_heads = 2, .head_width = 8, .ffn = 48, .tied = false};
  config.lora = {.rank = 4, .alpha = 8};
  return config;
}

Tensor ids_tensor(const std::vector<std::int32_t>& ids) {
  return Tensor::from(ids, {static_cast<std::int64_t>(ids.size())});
}

// Samples one after the other: `visual` visual tokens where there are pixels, then the text. labels: as in Hugging
// Face, position t predicts labels[t + 1].
struct Sample {
  std::vector<std::int32_t> ids, labels;
  Tensor pixels;
};

struct Packed {
  Batch batch;
  std::int64_t labels = 0;
};

Packed pack(const std::vector<Sample>& samples, std::int64_t visual) {
  std::vector<std::int32_t> tokens, positions, offsets{0}, rows, ids, visual_rows, row_ids;
  std::vector<float> pixels;
  Batch batch;
  std::int64_t images = 0;
  for (std::size_t s = 0; s < samples.size(); ++s) {
    const Sample& sample = samples[s];
    const std::int64_t before = sample.pixels.defined() ? visual : 0;
    const auto length = before + static_cast<std::int64_t>(sample.ids.size());
    for (std::int64_t t = 0; t < length; ++t) {
      const auto row = static_cast<std::int32_t>(tokens.size());
      if (t < before) visual_rows.push_back(row);
      tokens.push_back(t < before ? 0 : sample.ids[static_cast<std::size_t>(t - before)]);
      positions.push_back(static_cast<std::int32_t>(t));
      row_ids.insert(row_ids.end(), {static_cast<std::int32_t>(s), static_cast<std::int32_t>(t)});
      if (t + 1 >= before && t + 1 < length && sample.labels[static_cast<std::size_t>(t + 1 - before)] >= 0) {
        rows.push_back(row);
        ids.push_back(sample.labels[static_cast<std::size_t>(t + 1 - before)]);
      }
    }
    // The last visual token predicts the first of the text.
    offsets.push_back(static_cast<std::int32_t>(tokens.size()));
    batch.max_length = std::max(batch.max_length, length);
    if (before > 0) {
      const std::vector<float> values = sample.pixels.to_vector<float>();
      pixels.insert(pixels.end(), values.begin(), values.end());
      ++images;
    }
  }
  batch.tokens = ids_tensor(tokens);
  batch.positions = ids_tensor(positions);
  batch.sequence_offsets = ids_tensor(offsets);
  batch.label_rows = ids_tensor(rows);
  batch.label_ids = ids_tensor(ids);
  batch.row_ids = Tensor::from(row_ids, {static_cast<std::int64_t>(tokens.size()), 2});
  if (images > 0) {
    batch.visual_rows = ids_tensor(visual_rows);
    batch.pixels = Tensor::from(pixels, {images, 3, 28, 28});
  }
  return {batch, static_cast<std::int64_t>(rows.size())};
}

std::vector<std::int32_t> int_row(const Tensor& x, std::int64_t row) {
  return x.rank() == 1 ? x.to_vector<std::int32_t>() : x.slice(0, row, row + 1).to_vector<std::int32_t>();
}

Sample golden_sample(const Golden& golden, const std::string& prefix) {
  Sample sample{int_row(golden.at(prefix + "ids"), 0), int_row(golden.at(prefix + "labels"), 0), {}};
  if (golden.has(prefix + "pixels")) sample.pixels = golden.at(prefix + "pixels");
  return sample;
}

Tensor all_rows(const Batch& batch, std::int64_t begin, std::int64_t end) {
  check(end <= batch.tokens.dim(0), "no such rows");
  std::vector<std::int32_t> rows;
  for (std::int64_t i = begin; i < end; ++i) rows.push_back(static_cast<std::int32_t>(i));
  return ids_tensor(rows);
}

void clear_gradients(Module& module) {
  for (const NamedParameter& entry : all_parameters(module)) entry.parameter->clear_gradient();
}

TEST(Parity, VisionHiddenStates) {
  const Golden golden("vit");
  for (int layer = 0; layer <= 3; ++layer) {
    SCOPED_TRACE(layer);
    VisionTransformer vision(golden_vision(layer), DType::f32, cpu());
    load(vision, golden, [](const std::string& name) { return "vision_model." + name; });
    const auto expect = [&](const char* form) {
      SCOPED_TRACE(form);
      Graph graph;
      const Variable y = vision.forward(graph, golden.at("pixels"));
      EXPECT_FALSE(y.needs_gradient());
      const Tensor state = golden.at("hidden_states." + std::to_string(layer)).slice(1, 1, 17);
      EXPECT_CLOSE(y.value(), values_of(state), f32_bound);
      if (layer == 2) {
        EXPECT_CLOSE(y.value(), golden.values("features"), f32_bound);
      }
    };
    expect("plain");
    vision.freeze(vision.blocks(), Packing::forward);
    expect("packed");
  }
}

void check_resampler(const Golden& golden, const ResamplerConfig& config, const VisionConfig& vision, bool identity) {
  const std::unique_ptr<Resampler> resampler = make_resampler(config, vision, 24, DType::f32, cpu());
  for (const NamedParameter& entry : all_parameters(*resampler)) entry.parameter->trainable = true;
  const Rename rename = [](const std::string& name) { return name == "projection.weight" ? "" : name; };
  load(*resampler, golden, rename);
  if (identity) {
    for (const NamedParameter& entry : all_parameters(*resampler)) {
      if (entry.name != "projection.weight") continue;
      entry.parameter->value.fill(0);
      for (std::int64_t i = 0; i < 24; ++i) entry.parameter->value.slice(0, i, i + 1).slice(1, i, i + 1).fill(1);
    }
  }
  const std::int64_t images = golden.at("features").dim(0), width = golden.at("features").dim(2);
  Graph graph;
  const Variable x = graph.input(golden.at("features").view({images * 16, width}));
  const Variable y = resampler->forward(x, images);
  EXPECT_CLOSE(y.value(), golden.values("tokens"), f32_bound);
  graph.backward(y, golden.at("output_gradient").view(y.value().shape()));
  EXPECT_CLOSE(graph.gradient(x), golden.values("gradient.features"), f32_bound);
  // A key's bias moves all scores of a query alike, which softmax takes out again: its gradient is rounding alone.
  const auto is_key_bias = [](const std::string& name) { return name.ends_with("key.bias"); };
  expect_gradients(
      *resampler, golden, [&](const std::string& name) { return is_key_bias(name) ? "" : rename(name); }, f32_bound);
  for (const NamedParameter& entry : all_parameters(*resampler)) {
    if (!is_key_bias(entry.name)) continue;
    for (const double g : testing::values_of(entry.parameter->gradient)) EXPECT_NEAR(g, 0, 1e-4) << entry.name;
  }
}

TEST(Parity, QwenResampler) {
  const Golden golden("resampler_qwen");
  const std::vector<float> positions = resized_sincos_2d(3, 4, 24);
  EXPECT_LE(relative_error({positions.begin(), positions.end()}, golden.values("pos_embed_resized")), 1e-6);
  check_resampler(golden, {.kind = ResamplerKind::qwen, .queries = 9, .heads = 3}, golden_vision(-2), false);
}

TEST(Parity, PerceiverResampler) {
  VisionConfig vision = golden_vision(-2);
  vision.width = 24;
  check_resampler(Golden("resampler_perceiver"),
                  {.kind = ResamplerKind::perceiver, .queries = 6, .heads = 3, .head_width = 8, .depth = 2}, vision,
                  true);
}

TEST(Parity, QFormer) {
  check_resampler(Golden("resampler_qformer"),
                  {.kind = ResamplerKind::qformer, .queries = 5, .heads = 3, .head_width = 8, .depth = 3},
                  golden_vision(-2), false);
}

TEST(Parity, BicubicAndPositions) {
  const Golden golden("primitives");
  const std::vector<float> table = sincos_2d(3, 24);
  EXPECT_LE(relative_error({table.begin(), table.end()}, golden.values("sincos_2d.side_3")), 1e-6);
  const auto resized = [&](const std::string& from, std::int64_t r, std::int64_t c, std::int64_t rows,
                           std::int64_t columns) {
    const Values matrix = bicubic_matrix(r, c, rows, columns), x = golden.values(from);
    Values y(static_cast<std::size_t>(rows * columns * 8));
    for (std::int64_t i = 0; i < rows * columns; ++i) {
      for (std::int64_t j = 0; j < r * c; ++j) {
        for (std::int64_t d = 0; d < 8; ++d) {
          y[static_cast<std::size_t>(i * 8 + d)] +=
              matrix[static_cast<std::size_t>(i * r * c + j)] * x[static_cast<std::size_t>(j * 8 + d)];
        }
      }
    }
    return y;
  };
  EXPECT_LE(relative_error(resized("bicubic.table", 3, 3, 5, 4), golden.values("bicubic.resized")), 1e-6);
  EXPECT_LE(relative_error(resized("bicubic.down.table", 5, 4, 3, 2), golden.values("bicubic.down.resized")), 1e-6);
}

void check_decoder(DType dtype, Packing packing, const Golden& reference, const std::string& prefix, double bound) {
  const Golden golden("decoder");
  const MultimodalConfig config = golden_config();
  Decoder decoder(config.decoder, dtype, cpu());
  decoder.add_lora(config.lora);
  load(decoder, golden, peft_name);
  decoder.freeze({0, decoder.layers()}, packing);
  decoder.freeze_head(packing);
  const Packed packed = pack({{int_row(golden.at("ids"), 0), int_row(golden.at("labels"), 0), {}},
                              {int_row(golden.at("ids"), 1), int_row(golden.at("labels"), 1), {}}},
                             0);
  Graph graph;
  const Variable x = graph.input(decoder.embed(graph, packed.batch.tokens).value());
  Variable h = x;
  for (std::int64_t i = 0; i < decoder.layers(); ++i) h = decoder.layer(i, h, packed.batch.context());
  {
    const Graph::NoGradient none(graph);
    EXPECT_CLOSE(decoder.logits(h, all_rows(packed.batch, 0, 22)), reference.values(prefix + "logits"), bound);
  }
  // Chunks smaller than the rows, so that the loss runs over several.
  const Variable loss = decoder.loss(h, packed.batch.label_rows, packed.batch.label_ids, 5);
  EXPECT_CLOSE(loss.value(), reference.values(prefix + "loss_sum"), bound);
  EXPECT_NEAR(loss.value().item() / static_cast<double>(packed.labels), reference.at(prefix + "loss_mean").item(),
              bound * reference.at(prefix + "loss_mean").item());
  graph.backward(loss, Tensor::full({1}, DType::f32, 1));
  EXPECT_CLOSE(graph.gradient(x), reference.values(prefix + "gradient.inputs_embeds"), bound);
  expect_gradients(decoder, reference, peft_name, bound, prefix + "gradient.");
}

TEST(Parity, Decoder) {
  const Golden golden("decoder");
  for (const Packing packing : {Packing::none, Packing::forward, Packing::both}) {
    SCOPED_TRACE(static_cast<int>(packing));
    check_decoder(DType::f32, packing, golden, "", f32_bound);
  }
}

TEST(Parity, DecoderInBf16) {
  const Golden golden("decoder_bf16");
  check_decoder(DType::bf16, Packing::both, golden, "exact.", bf16_bound);
}

void check_multimodal(const std::string& file, const ResamplerConfig& resampler, std::int64_t visual) {
  const Golden golden(file);
  MultimodalConfig config = golden_config();
  config.vision = golden_vision(-2);
  config.resampler = resampler;
  Multimodal model(config, DType::f32, cpu());
  load(model, golden, multimodal_name);
  model.freeze();
  const Sample image = golden_sample(golden, "image."), text = golden_sample(golden, "text.");
  const Packed packed = pack({image, text}, visual);
  const std::int64_t first = visual + static_cast<std::int64_t>(image.ids.size());
  {
    Graph graph(Graph::Mode::inference);
    EXPECT_CLOSE(model.visual_tokens(graph, packed.batch).value(), golden.values("image.visual_tokens"), f32_bound);
    EXPECT_CLOSE(model.logits(graph, packed.batch, all_rows(packed.batch, 0, first)), golden.values("image.logits"),
                 f32_bound);
    EXPECT_CLOSE(model.logits(graph, packed.batch, all_rows(packed.batch, first, packed.batch.tokens.dim(0))),
                 golden.values("text.logits"), f32_bound);
    EXPECT_CLOSE(model.loss(graph, pack({image}, visual).batch).value(), golden.values("image.loss_sum"), f32_bound);
    EXPECT_CLOSE(model.loss(graph, pack({text}, visual).batch).value(), golden.values("text.loss_sum"), f32_bound);
  }
  Graph graph;
  const Variable loss = model.loss(graph, packed.batch);
  EXPECT_CLOSE(loss.value(), golden.values("loss_sum"), f32_bound);
  graph.backward(loss, Tensor::full({1}, DType::f32, 1));
  expect_gradients(model, golden, multimodal_name, f32_bound);
}

const ResamplerConfig qwen{.kind = ResamplerKind::qwen, .queries = 9, .heads = 4};

TEST(Parity, Multimodal) { check_multimodal("multimodal", qwen, 9); }

TEST(Parity, MultimodalPerceiver) {
  check_multimodal("multimodal_perceiver",
                   {.kind = ResamplerKind::perceiver, .queries = 6, .heads = 4, .head_width = 8, .depth = 2}, 6);
}

// AdamW on f32 masters with the kernels; matrices are decayed, gradients clipped to a norm of one.
struct Trainer {
  struct State {
    Tensor master, m, v;
  };
  std::vector<NamedParameter> parameters;
  std::vector<State> states;

  explicit Trainer(Module& module) : parameters(trainable_parameters(module)) {
    for (const NamedParameter& entry : parameters) {
      const std::int64_t n = entry.parameter->shape.numel();
      states.push_back(
          {entry.parameter->value.view({n}).clone(), Tensor::zeros({n}, DType::f32), Tensor::zeros({n}, DType::f32)});
    }
  }

  double step(std::int64_t number, double tokens) {
    double squares = 0;
    for (const NamedParameter& entry : parameters) {
      const Tensor sum = Tensor::empty({1}, DType::f64);
      const Tensor& gradient = entry.parameter->gradient_sum();
      kernels(gradient).sum_of_squares(gradient.view({gradient.numel()}), sum);
      squares += sum.item();
    }
    const double norm = std::sqrt(squares) / tokens, clip = std::min(1.0, 1.0 / (norm + 1e-6));
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      Parameter& p = *parameters[i].parameter;
      const std::int64_t n = p.shape.numel();
      const AdamW options{.learning_rate = 1e-3F,
                          .beta1 = 0.9F,
                          .beta2 = 0.95F,
                          .weight_decay = p.shape.rank() >= 2 ? 0.1F : 0.0F,
                          .step = number,
                          .gradient_scale = static_cast<float>(clip / tokens)};
      kernels(p.value).adamw(states[i].master, states[i].m, states[i].v, p.gradient.view({n}), p.value.view({n}),
                             options);
      p.clear_gradient();
    }
    return norm;
  }
};

TEST(Parity, TwentyStepsOfTraining) {
  const Golden golden("training");
  MultimodalConfig config = golden_config();
  config.vision = golden_vision(-2);
  config.resampler = qwen;
  Multimodal model(config, DType::f32, cpu());
  load(model, golden, multimodal_name);
  model.freeze();
  Trainer trainer(model);
  // Two micro-batches, each an image and a text.
  std::vector<Packed> packed;
  for (const int i : {0, 2}) {
    packed.push_back(pack({golden_sample(golden, "sample." + std::to_string(i) + "."),
                           golden_sample(golden, "sample." + std::to_string(i + 1) + ".")},
                          9));
  }
  const auto tokens = static_cast<double>(packed[0].labels + packed[1].labels);
  const Values losses = golden.values("losses"), norms = golden.values("gradient_norms");
  for (std::size_t step = 0; step < losses.size(); ++step) {
    double sum = 0;
    for (const Packed& micro : packed) {
      Graph graph;
      const Variable loss = model.loss(graph, micro.batch);
      graph.backward(loss, Tensor::full({1}, DType::f32, 1));
      sum += loss.value().item();
    }
    EXPECT_NEAR(sum / tokens, losses[step], 1e-4) << "step " << step;
    EXPECT_NEAR(trainer.step(static_cast<std::int64_t>(step) + 1, tokens), norms[step], 1e-3 * norms[step]);
  }
  for (const NamedParameter& entry : trainable_parameters(model)) {
    SCOPED_TRACE(entry.name);
    Values ours = values_of(entry.parameter->value), theirs = golden.values("final." + multimodal_name(entry.name));
    if (entry.name == "resampler.attn.in_proj_bias") {  // a bias on keys has no gradient but noise
      ours.erase(ours.begin() + 32, ours.begin() + 64);
      theirs.erase(theirs.begin() + 32, theirs.begin() + 64);
    }
    EXPECT_LE(relative_error(ours, theirs), 1e-3);
  }
  clear_gradients(model);
}

}  // namespace
}  // namespace skymm::testing
