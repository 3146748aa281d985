// Models with random weights, micro-batches of random samples, and the gradients of the one on the other.
#pragma once

#include <map>
#include <memory>

#include "ops/models/multimodal.hpp"
#include "support/support.hpp"

namespace skymm::testing {

// The visual tokens of one picture where `image`, then `text` random tokens, all of them labels.
struct Sample {
  std::int32_t position;  // in the global batch: decides its tokens and its dropout
  std::int32_t text;
  bool image;
};

inline Tensor ids(const std::vector<std::int32_t>& values) {
  return Tensor::from(values, {static_cast<std::int64_t>(values.size())});
}

inline Batch batch_of(const MultimodalConfig& config, const std::vector<Sample>& samples, DType dtype = DType::f32) {
  std::vector<std::int32_t> tokens, positions, offsets{0}, rows, labels, visual_rows, row_ids;
  std::vector<float> pixels;
  const std::int64_t side = config.vision ? config.vision->image : 0;
  const auto visual = static_cast<std::int32_t>(config.vision ? config.resampler.tokens(*config.vision) : 0);
  Batch batch;
  for (const Sample& sample : samples) {
    RandomStream random(77, static_cast<std::uint64_t>(sample.position));
    const std::int32_t before = sample.image ? visual : 0;
    for (std::int32_t t = 0; t < before + sample.text; ++t) {
      const auto row = static_cast<std::int32_t>(tokens.size());
      if (t < before) visual_rows.push_back(row);
      tokens.push_back(t < before ? -1 : static_cast<std::int32_t>(random.below(config.decoder.vocabulary)));
      positions.push_back(t);
      row_ids.insert(row_ids.end(), {sample.position, t});
      if (t > before) {
        rows.push_back(row - 1);
        labels.push_back(tokens.back());
      }
    }
    offsets.push_back(static_cast<std::int32_t>(tokens.size()));
    batch.max_length = std::max<std::int64_t>(batch.max_length, before + sample.text);
    for (std::int64_t i = 0; sample.image && i < 3 * side * side; ++i) pixels.push_back(random.normal());
  }
  batch.tokens = ids(tokens);
  batch.positions = ids(positions);
  batch.sequence_offsets = ids(offsets);
  batch.label_rows = ids(rows);
  batch.label_ids = ids(labels);
  batch.row_ids = Tensor::from(row_ids, {static_cast<std::int64_t>(tokens.size()), 2});
  batch.random = {.seed = 9, .step = 3};
  batch.training = true;
  if (!pixels.empty()) {
    batch.visual_rows = ids(visual_rows);
    const auto images = static_cast<std::int64_t>(pixels.size()) / (3 * side * side);
    batch.pixels = Tensor::from(pixels, {images, 3, side, side}).to(dtype);
  }
  return batch;
}

// Frozen unless told. LoRA's B is random, where initialize() makes it zero: then A would have no gradient.
inline std::unique_ptr<Multimodal> random_model(const MultimodalConfig& config, const std::vector<BlockRange>& pieces,
                                                DType dtype = DType::f32, bool freeze = true) {
  auto model = std::make_unique<Multimodal>(config, dtype, cpu(), pieces);
  initialize(*model, 5);
  for (const NamedParameter& entry : all_parameters(*model)) {
    if (entry.name.find("lora_B") != std::string::npos) {
      entry.parameter->value.copy_from(random_tensor(entry.parameter->shape, dtype, stable_hash(entry.name), 0.2));
    }
  }
  const PurposeScope purpose(Purpose::weights);
  if (freeze) model->freeze();
  return model;
}
inline std::unique_ptr<Multimodal> random_model(const MultimodalConfig& config, DType dtype = DType::f32,
                                                bool freeze = true) {
  return random_model(config, {all_blocks(config)}, dtype, freeze);
}

struct Result {
  double loss = 0;
  std::map<std::string, Values> gradients;

  bool operator==(const Result&) const = default;
};

inline void clear_gradients(Multimodal& model) {
  for (const NamedParameter& entry : all_parameters(model)) entry.parameter->clear_gradient();
}

inline void take_gradients(Multimodal& model, Result& result) {
  for (const NamedParameter& entry : trainable_parameters(model)) {
    if (entry.parameter->gradient.defined()) result.gradients[entry.name] = values_of(entry.parameter->gradient);
  }
}

// Loss and gradients of the whole model.
inline Result run(Multimodal& model, const Batch& batch, Graph::Weights weights = Graph::Weights::now) {
  clear_gradients(model);
  Graph graph;
  const Variable loss = model.loss(graph, batch);
  graph.backward(loss, Tensor::full({1}, DType::f32, 1), weights);
  graph.weight_gradients();
  Result result{loss.value().item(), {}};
  take_gradients(model, result);
  return result;
}

}  // namespace skymm::testing
