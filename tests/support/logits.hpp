// What a pretrained decoder computes.
#pragma once

#include "launch/assembly/pretrained.hpp"
#include "ops/models/multimodal.hpp"
#include "support/load_weights.hpp"

namespace skymm::testing {

// The logits [T, vocabulary] after each of `tokens` i32 [T] of the decoder at `path`, with LoRA from `files`.
inline Tensor decoder_logits(const std::string& path, const Tensor& tokens, DType dtype = DType::f32,
                             const LoraOptions& lora = {}, const std::vector<std::string>& files = {}) {
  MultimodalConfig config;
  config.decoder = describe_decoder(path).config;
  config.lora = lora;
  Multimodal model(config, dtype, cpu());
  load_weights(model, {bind_decoder(config.decoder, open_weights(path))}, files);
  model.freeze();
  Batch batch;
  batch.tokens = tokens;
  const std::int64_t length = tokens.dim(0);
  std::vector<std::int32_t> places;
  for (std::int32_t i = 0; i < length; ++i) places.push_back(i);
  batch.positions = Tensor::from(places, {length});
  batch.sequence_offsets = Tensor::from(std::vector<std::int32_t>{0, static_cast<std::int32_t>(length)}, {2});
  batch.max_length = length;
  Graph graph(Graph::Mode::inference);
  return model.logits(graph, batch, batch.positions);
}

}  // namespace skymm::testing
