#include "ops/models/multimodal.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "ops/functions/rows.hpp"

namespace skymm {
namespace {

void set_trainable(Module* module, bool trainable) {
  if (module == nullptr) return;
  module->visit("", [&](const std::string&, Parameter& parameter) { parameter.trainable = trainable; });
}

std::vector<BlockRange> indices_of(const MultimodalConfig& config, BlockKind kind,
                                   const std::vector<BlockRange>& pieces) {
  std::vector<BlockRange> indices;
  for (const BlockRange piece : pieces) {
    if (const BlockRange held = indices_of(config, kind, piece); held.size() > 0) indices.push_back(held);
  }
  return indices;
}

DecoderParts decoder_parts(const MultimodalConfig& config, const std::vector<BlockRange>& pieces) {
  const BlockRange all = all_blocks(config);
  std::int64_t free_from = 0;
  for (const auto [begin, end] : pieces) {
    check(free_from <= begin && begin < end && end <= all.end,
          "blocks [{}, {}) are no piece of a model of {} blocks, or not one after the other", begin, end, all.end);
    free_from = end;
  }
  const DecoderParts parts{.embedding = !indices_of(config, BlockKind::embedding, pieces).empty(),
                           .head = !indices_of(config, BlockKind::head, pieces).empty(),
                           .layers = indices_of(config, BlockKind::layer, pieces),
                           .quantization = config.trainable.decoder ? std::nullopt : config.quantization};
  check(!config.features || !config.trainable.vision, "a ViT that trains cannot be left out for features made before");
  check(!config.decoder.tied || !config.trainable.decoder || parts.embedding == parts.head,
        "the decoder's head is its embedding table, and it trains: one rank must hold both. Give the first and the "
        "last piece to one rank, train without the decoder's own weights, or take a decoder with a head of its own");
  return parts;
}

}  // namespace

Multimodal::Multimodal(const MultimodalConfig& config, DType dtype, Device& device)
    : Multimodal(config, dtype, device, {all_blocks(config)}) {}

Multimodal::Multimodal(const MultimodalConfig& config, DType dtype, Device& device, std::vector<BlockRange> pieces)
    : config_(config),
      dtype_(dtype),
      device_(device),
      pieces_(std::move(pieces)),
      decoder_(config.decoder, dtype, device, decoder_parts(config, pieces_)) {
  if (const auto vision = indices_of(config, BlockKind::vision, pieces_); !vision.empty()) {
    vision_ = std::make_unique<VisionTransformer>(*config.vision, dtype, device, vision,
                                                  config.trainable.vision ? std::nullopt : config.quantization);
  }
  if (!indices_of(config, BlockKind::resampler, pieces_).empty()) {
    resampler_ = make_resampler(config.resampler, *config.vision, config.decoder.width, dtype, device);
  }
  set_trainable(vision_.get(), config.trainable.vision);
  set_trainable(resampler_.get(), config.trainable.resampler);
  set_trainable(&decoder_, config.trainable.decoder);
  if (config.lora.rank > 0) decoder_.add_lora(config.lora);
}

Variable Multimodal::run(BlockRange piece, Graph& graph, const Variable& input, const Batch& batch) {
  const BatchSizes sizes = this->sizes(batch);
  if (sizes.labels == 0) {
    const bool head = indices_of(config_, BlockKind::head, piece).size() > 0;
    return head ? graph.constant(Tensor::zeros({1}, DType::f32, device_)) : Variable();
  }
  if (piece.begin == 0) return forward(piece, graph, {}, batch);
  const Shape expected = boundary_shape(config_, piece.begin, sizes);
  if (expected[0] == 0) return forward(piece, graph, {}, batch);
  check(input.defined() && input.value().shape() == expected, "into block {} should go {}; got {}", piece.begin,
        expected.str(), input.defined() ? input.value().shape().str() : "nothing");
  return forward(piece, graph, input, batch);
}

// The model, from its first block to its last; of these, the ones in `piece`.
Variable Multimodal::forward(BlockRange piece, Graph& graph, Variable x, const Batch& batch) {
  check(holds(piece), "blocks [{}, {}) of the model are not all held here", piece.begin, piece.end);
  const auto chosen = [&](BlockKind kind) { return indices_of(config_, kind, piece); };
  if (batch.has_image()) {  // text alone runs neither ViT nor resampler
    check(config_.vision.has_value(), "the batch has images, but the model has no vision part");
    if (const BlockRange blocks = chosen(BlockKind::vision); blocks.size() > 0) x = see(blocks, graph, x, batch);
    if (chosen(BlockKind::resampler).size() > 0) {
      x = resampler_->forward(x, x.value().dim(0) / config_.vision->patches());
    }
  }
  if (chosen(BlockKind::embedding).size() > 0) {
    const Variable text = decoder_.embed(graph, batch.tokens);
    x = batch.has_image() ? splice(text, x, batch.visual_rows) : text;
  }
  const BlockRange layers = chosen(BlockKind::layer);
  for (std::int64_t i = layers.begin; i < layers.end; ++i) {
    x = decoder_.layer(i, x, batch.context(), config_.recompute);
  }
  if (chosen(BlockKind::head).size() == 0) return x;
  return decoder_.loss(x, batch.label_rows, batch.label_ids, config_.head_chunk_rows);
}

Variable Multimodal::see(BlockRange blocks, Graph& graph, const Variable& x, const Batch& batch) {
  if (config_.features) {
    if (blocks.begin > 0) return x;
    check(batch.features.defined(), "the batch has rows for visual tokens, but no features");
    return graph.constant(batch.features);
  }
  if (batch.features.defined()) {
    check(blocks == vision_->blocks(), "a batch with features in place of pixels needs the whole ViT in one piece");
    return graph.constant(batch.features);
  }
  if (blocks.begin > 0) return vision_->run(blocks, x);
  check(batch.pixels.defined(), "the batch has rows for visual tokens, but no pixels");
  return vision_->run(blocks, graph.constant(batch.pixels));
}

bool Multimodal::holds(BlockRange piece) const {
  std::int64_t held = 0;
  for (const auto [begin, end] : pieces_) {
    held += std::max<std::int64_t>(0, std::min(end, piece.end) - std::max(begin, piece.begin));
  }
  return held == piece.size();
}

BatchSizes Multimodal::sizes(const Batch& batch) const {
  BatchSizes sizes{.tokens = batch.tokens.dim(0)};
  if (batch.label_rows.defined()) sizes.labels = batch.label_rows.dim(0);
  if (config_.vision && batch.has_image()) {
    sizes.images = batch.visual_rows.dim(0) / config_.resampler.tokens(*config_.vision);
  }
  return sizes;
}

Variable Multimodal::loss(Graph& graph, const Batch& batch) { return run(all_blocks(config_), graph, {}, batch); }

Variable Multimodal::visual_tokens(Graph& graph, const Batch& batch) {
  check(batch.has_image(), "a batch without images has no visual tokens");
  return forward({0, first_block(config_, BlockKind::embedding)}, graph, {}, batch);
}

Variable Multimodal::embed(Graph& graph, const Batch& batch) {
  return forward({0, first_block(config_, BlockKind::embedding) + 1}, graph, {}, batch);
}

Tensor Multimodal::logits(Graph& graph, const Batch& batch, const Tensor& rows) {
  const Graph::NoGradient none(graph);
  return decoder_.logits(forward({0, first_block(config_, BlockKind::head)}, graph, {}, batch), rows);
}

Tensor Multimodal::features(const Tensor& pixels) {
  check(vision_ != nullptr, "the model has no vision part, or it is not held here");
  Graph graph(Graph::Mode::inference);
  return vision_->forward(graph, pixels).value();
}

void Multimodal::freeze() {
  for (const BlockRange piece : pieces_) freeze(piece);
}

void Multimodal::freeze(BlockRange blocks) {
  check(holds(blocks), "blocks [{}, {}) of the model are not all held here", blocks.begin, blocks.end);
  if (const BlockRange vision = indices_of(config_, BlockKind::vision, blocks);
      vision.size() > 0 && !config_.trainable.vision) {
    // A frozen ViT has no backward, so that one packed copy is enough for it.
    vision_->freeze(vision, config_.packing == Packing::none ? Packing::none : Packing::forward);
  }
  if (config_.trainable.decoder) return;
  decoder_.freeze(indices_of(config_, BlockKind::layer, blocks), config_.packing);
  if (indices_of(config_, BlockKind::head, blocks).size() > 0) decoder_.freeze_head(config_.packing);
}

void Multimodal::drop_vision() {
  check(config_.features, "the ViT is needed: batches bring pixels, not features");
  vision_.reset();
}

void Multimodal::visit(const std::string& prefix, const ParameterVisitor& visitor) {
  if (vision_) vision_->visit(qualified(prefix, "vision_model"), visitor);
  if (resampler_) resampler_->visit(qualified(prefix, "resampler"), visitor);
  decoder_.visit(prefix, visitor);
}

std::vector<NamedParameter> trainable_parameters(Multimodal& model, BlockRange piece) {
  std::vector<NamedParameter> parameters;
  for (NamedParameter& entry : trainable_parameters(model)) {
    const std::int64_t block = block_of(model.config(), entry.name);
    if (piece.begin <= block && block < piece.end) parameters.push_back(std::move(entry));
  }
  return parameters;
}

}  // namespace skymm
