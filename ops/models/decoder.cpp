#include "ops/models/decoder.hpp"

#include <algorithm>
#include <array>

#include "core/error.hpp"
#include "core/trace.hpp"
#include "ops/functions/rows.hpp"

namespace skymm {
namespace {

constexpr std::array<std::string_view, 7> lora_targets{"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                                       "gate_proj", "up_proj", "down_proj"};

std::string layer_name(std::size_t i) { return fmt::format("model.layers.{}", i); }

}  // namespace

Decoder::Decoder(const DecoderConfig& config, DType dtype, Device& device)
    : Decoder(config, dtype, device, {.layers = {{0, config.layers}}}) {}

Decoder::Decoder(const DecoderConfig& config, DType dtype, Device& device, const DecoderParts& held)
    : config_(config), held_(held), blocks_(static_cast<std::size_t>(config.layers)) {
  if (has_table()) embedding_ = make_parameter({config.vocabulary, config.width}, dtype, device);
  const DecoderBlockOptions block{config.width, config.ffn,   {config.heads, config.kv_heads, config.head_width},
                                  config.eps,   config.theta, config.qkv_bias};
  for (const auto [begin, end] : held.layers) {
    for (std::int64_t i = begin; i < end; ++i) {
      blocks_.at(static_cast<std::size_t>(i)) = std::make_unique<DecoderBlock>(block, dtype, device);
      // block by block, so that not even their memory is ever there as a whole
      if (held.quantization) blocks_.at(static_cast<std::size_t>(i))->quantize(*held.quantization);
    }
  }
  if (!held.head) return;
  norm_ = std::make_unique<RmsNorm>(config.width, config.eps, dtype, device);
  if (!config.tied) head_ = make_parameter({config.vocabulary, config.width}, dtype, device);
  head_weight_ = kernels(device).make_linear_weight(config.tied ? embedding_.value : head_.value, Packing::none);
}

Variable Decoder::embed(Graph& graph, const Tensor& tokens) {
  check(held_.embedding, "the embedding table is not held here");
  return embedding(graph, embedding_, tokens);
}

DecoderBlock& Decoder::block(std::int64_t i) const {
  DecoderBlock* const block = blocks_.at(static_cast<std::size_t>(i)).get();
  check(block != nullptr, "layer {} of the decoder is not held here", i);
  return *block;
}

Variable Decoder::layer(std::int64_t i, const Variable& x, const Context& context, Recompute mode) {
  const TraceSpan span("decoder layer");
  Context own = context;
  own.layer = i;
  return block(i).forward(x, own, mode);
}

Variable Decoder::loss(const Variable& x, const Tensor& rows, const Tensor& label_ids, std::int64_t chunk_rows) {
  const TraceSpan span("head and loss");
  check(held_.head, "the head of the decoder is not held here");
  return linear_cross_entropy(norm_->forward(gather_rows(x, rows)),
                              {head_weight_, config_.tied ? &embedding_ : &head_, chunk_rows}, label_ids);
}

Tensor Decoder::logits(const Variable& x, const Tensor& rows) {
  check(held_.head, "the head of the decoder is not held here");
  const Tensor h = norm_->forward(gather_rows(x, rows)).value();
  const Tensor y = Tensor::empty({h.dim(0), config_.vocabulary}, h.dtype(), h.device());
  kernels(h).linear(h, *head_weight_, {}, Activation::none, y);
  return y;
}

void Decoder::visit(const std::string& prefix, const ParameterVisitor& visitor) {
  if (has_table()) visitor(qualified(prefix, "model.embed_tokens.weight"), embedding_);
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    if (blocks_[i]) blocks_[i]->visit(qualified(prefix, layer_name(i)), visitor);
  }
  if (!held_.head) return;
  norm_->visit(qualified(prefix, "model.norm"), visitor);
  if (!config_.tied) visitor(qualified(prefix, "lm_head.weight"), head_);
}

void Decoder::add_lora(const LoraOptions& options) {
  for (const std::string& target : options.targets) {
    check(std::ranges::find(lora_targets, target) != lora_targets.end(),
          "LoRA target '{}' is no linear layer of the decoder; there are: {}", target, fmt::join(lora_targets, ", "));
  }
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    if (blocks_[i]) blocks_[i]->add_lora(layer_name(i), options);
  }
}

void Decoder::freeze(BlockRange layers, Packing packing) {
  for (std::int64_t i = layers.begin; i < layers.end; ++i) block(i).freeze(packing);
}

void Decoder::freeze_head(Packing packing) {
  // A tied table has to stay plain, as rows are looked up in it; and where memory counts a second copy is too much.
  if (!held_.head || config_.tied || packing == Packing::none || held_.quantization) return;
  const PurposeScope purpose(Purpose::weights);
  Device& device = head_.value.device();
  head_weight_ = kernels(device).make_linear_weight(head_.value, packing);
  head_.value = Tensor();
  device.allocator().trim();
}

void Decoder::merge_lora(bool in) {
  for (const auto& block : blocks_) {
    if (block) block->merge(in);
  }
}

}  // namespace skymm
