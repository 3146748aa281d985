// A rank of a pipeline with a tiny model, and what one rank alone computes.
#pragma once

#include "parallel/communicator.hpp"
#include "parallel/pipeline/executor.hpp"
#include "parallel/pipeline/partition.hpp"
#include "support/models.hpp"

namespace skymm::testing {

inline MultimodalConfig pipeline_config() {
  MultimodalConfig config;
  config.vision = vision_preset("vit-pico");
  config.decoder = decoder_preset("pico");
  config.decoder.layers = 6;
  config.resampler = {.kind = ResamplerKind::qwen, .queries = 4, .heads = 2};
  config.lora = {.rank = 3, .alpha = 6, .dropout = 0.2F};
  return config;
}

// With pictures, text alone, without labels, and mixed.
inline std::vector<Batch> pipeline_batches(const MultimodalConfig& config, DType dtype = DType::f32) {
  const std::vector<std::vector<Sample>> samples{
      {{0, 7, true}, {1, 5, true}}, {{2, 6, false}}, {{3, 1, true}}, {{4, 7, true}, {5, 5, false}}, {{6, 4, true}}};
  std::vector<Batch> batches;
  for (const auto& batch : samples) batches.push_back(batch_of(config, batch, dtype));
  return batches;
}

// Losses and gradients add up over the batches.
inline Result run_whole(const MultimodalConfig& config, const std::vector<Batch>& batches) {
  const auto model = random_model(config);
  Result result;
  for (const Batch& batch : batches) {
    Graph graph;
    const Variable loss = model->loss(graph, batch);
    graph.backward(loss, Tensor::full({1}, DType::f32, 1));
    result.loss += loss.value().item();
  }
  take_gradients(*model, result);
  return result;
}

inline std::vector<BlockRange> equal_pieces(const MultimodalConfig& config, int count) {
  const std::int64_t blocks = all_blocks(config).size();
  std::vector<BlockRange> pieces;
  for (std::int64_t i = 0; i < count; ++i) pieces.push_back({i * blocks / count, (i + 1) * blocks / count});
  return pieces;
}

struct PipelineRank {
  PipelineRank(const MultimodalConfig& config, const PipelineShape& shape, Communicator& pipeline,
               const ExecutorOptions& options = {}, std::vector<BlockRange> cut = {}, DType dtype = DType::f32)
      : shape(shape), pieces(cut.empty() ? equal_pieces(config, shape.pieces()) : std::move(cut)) {
    model = random_model(config, pieces_of_stage(pieces, shape.stages, pipeline.rank()), dtype);
    std::vector<std::vector<NamedParameter>> chunks;
    for (const BlockRange piece : model->pieces()) chunks.push_back(trainable_parameters(*model, piece));
    optimizer = std::make_unique<Optimizer>(std::move(chunks), OptimizerOptions{}, ZeroOptions{}, alone, alone);
    executor = std::make_unique<Executor>(*model, pieces, pipeline, *optimizer, options);
  }

  // Gradients of the parameters that this rank holds; they are zero again afterwards.
  Result train(const Schedule& schedule, const std::vector<Batch>& batches) {
    Result result;
    result.loss = executor->run(schedule, batches);
    take_gradients(*model, result);
    for (const NamedParameter& entry : trainable_parameters(*model)) entry.parameter->gradient.fill(0);
    return result;
  }

  PipelineShape shape;
  std::vector<BlockRange> pieces;
  SingleCommunicator alone;
  std::unique_ptr<Multimodal> model;
  std::unique_ptr<Optimizer> optimizer;
  std::unique_ptr<Executor> executor;
};

}  // namespace skymm::testing
