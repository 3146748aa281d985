#include "ops/models/multimodal.hpp"

#include "core/error.hpp"
#include "ops/functions/rows.hpp"

namespace skymm {
namespace {

void set_trainable(Module* module, bool trainable) {
  if (module == nullptr) return;
  module->visit("", [&](const std::string&, Parameter& parameter) { parameter.trainable = trainable; });
}

}  // namespace

Multimodal::Multimodal(const MultimodalConfig& config, DType dtype, Device& device)
    : config_(config), dtype_(dtype), device_(device), decoder_(config.decoder, dtype, device) {
  if (config.vision) {
    vision_ = std::make_unique<VisionTransformer>(*config.vision, dtype, device);
    resampler_ = make_resampler(config.resampler, *config.vision, config.decoder.width, dtype, device);
  }
  set_trainable(vision_.get(), config.trainable.vision);
  set_trainable(resampler_.get(), config.trainable.resampler);
  set_trainable(&decoder_, config.trainable.decoder);
  if (config.lora.rank > 0) decoder_.add_lora(config.lora);
}

Variable Multimodal::visual_tokens(Graph& graph, const Batch& batch) {
  check(vision_ != nullptr, "the batch has images, but the model has no vision part");
  const Variable features =
      batch.features.defined() ? graph.constant(batch.features) : vision_->forward(graph, batch.pixels);
  return resampler_->forward(features, features.value().dim(0) / config_.vision->patches());
}

Variable Multimodal::embed(Graph& graph, const Batch& batch) {
  const Variable text = decoder_.embed(graph, batch.tokens);
  if (!batch.has_image()) return text;  // neither ViT nor resampler runs
  return splice(text, visual_tokens(graph, batch), batch.visual_rows);
}

Variable Multimodal::layer(std::int64_t i, const Variable& x, const Batch& batch) {
  return decoder_.layer(i, x, batch.context(), config_.recompute);
}

Variable Multimodal::head_loss(const Variable& x, const Batch& batch) {
  return decoder_.loss(x, batch.label_rows, batch.label_ids, config_.head_chunk_rows);
}

Variable Multimodal::loss(Graph& graph, const Batch& batch) {
  if (batch.label_rows.dim(0) == 0) return graph.constant(Tensor::zeros({1}, DType::f32, device_));
  Variable x = embed(graph, batch);
  for (std::int64_t i = 0; i < layers(); ++i) x = layer(i, x, batch);
  return head_loss(x, batch);
}

Tensor Multimodal::logits(Graph& graph, const Batch& batch, const Tensor& rows) {
  const Graph::NoGradient none(graph);
  Variable x = embed(graph, batch);
  for (std::int64_t i = 0; i < layers(); ++i) x = layer(i, x, batch);
  return decoder_.logits(x, rows);
}

Tensor Multimodal::features(const Tensor& pixels) {
  check(vision_ != nullptr, "the model has no vision part");
  Graph graph(Graph::Mode::inference);
  return vision_->forward(graph, pixels).value();
}

void Multimodal::freeze() {
  // A frozen ViT has no backward, so that one packed copy is enough for it.
  if (vision_ && !config_.trainable.vision) {
    vision_->freeze(config_.packing == Packing::none ? Packing::none : Packing::forward);
  }
  if (!config_.trainable.decoder) decoder_.freeze(config_.packing);
}

void Multimodal::visit(const std::string& prefix, const ParameterVisitor& visitor) {
  if (vision_) vision_->visit(qualified(prefix, "vision_model"), visitor);
  if (resampler_) resampler_->visit(qualified(prefix, "resampler"), visitor);
  decoder_.visit(prefix, visitor);
}

}  // namespace skymm
