#include "ops/layers/blocks.hpp"

#include <algorithm>
#include <iterator>

#include "ops/functions/activation.hpp"

namespace skymm {

DecoderBlock::DecoderBlock(const DecoderBlockOptions& options, DType dtype, Device& device)
    : input_norm_(options.width, options.eps, dtype, device),
      post_attention_norm_(options.width, options.eps, dtype, device),
      attention_({.width = options.width, .heads = options.heads, .qkv_bias = options.qkv_bias, .theta = options.theta},
                 dtype, device),
      gate_up_(options.width, {{"gate_proj", options.ffn}, {"up_proj", options.ffn}}, false, dtype, device),
      down_(options.ffn, {{"down_proj", options.width}}, false, dtype, device) {}

Variable DecoderBlock::forward(const Variable& x, const Context& context, Recompute mode) {
  if (mode == Recompute::full) {
    return recompute([this, context](std::span<const Variable> in) { return forward(in[0], context); }, {x});
  }
  const auto [h, y] = post_attention_norm_.forward(x, attend(input_norm_.forward(x), context, mode));
  const Variable branch =
      mode == Recompute::none
          ? mlp(y, context)
          : recompute([this, context](std::span<const Variable> in) { return mlp(in[0], context); }, {y});
  const Graph::SegmentOutput last(x.graph());
  return add(h, branch);
}

Variable DecoderBlock::attend(const Variable& x, const Context& context, Recompute mode) {
  if (mode == Recompute::none) return attention_.forward(x, context);
  const Segment segment = [this, context](std::span<const Variable> in) {
    const Variable heads = attention_.heads(in[0], context);
    const Graph::SegmentOutput last(heads.graph());
    return attention_.project(heads, context);
  };
  return recompute(segment, {x});
}

Variable DecoderBlock::mlp(const Variable& x, const Context& context) {
  const Variable gate_up = gate_up_.forward(x, context);
  const Graph::SegmentOutput last(x.graph());
  return down_.forward_swiglu(gate_up, context);
}

void DecoderBlock::visit(const std::string& prefix, const ParameterVisitor& visitor) {
  input_norm_.visit(qualified(prefix, "input_layernorm"), visitor);
  attention_.visit(qualified(prefix, "self_attn"), visitor);
  post_attention_norm_.visit(qualified(prefix, "post_attention_layernorm"), visitor);
  gate_up_.visit(qualified(prefix, "mlp"), visitor);
  down_.visit(qualified(prefix, "mlp"), visitor);
}

int DecoderBlock::add_lora(const std::string& prefix, const LoraOptions& options) {
  const std::string mlp = qualified(prefix, "mlp");
  return attention_.add_lora(qualified(prefix, "self_attn"), options) + gate_up_.add_lora(mlp, options) +
         down_.add_lora(mlp, options);
}

void DecoderBlock::quantize(const Quantization& how) {
  attention_.quantize(how);
  gate_up_.quantize(how);
  down_.quantize(how);
}

void DecoderBlock::freeze(Packing packing) {
  attention_.freeze(packing);
  gate_up_.freeze(packing);
  down_.freeze(packing);
}

void DecoderBlock::merge(bool in) {
  attention_.merge(in);
  for (Linear* layer : {&gate_up_, &down_}) in ? layer->merge() : layer->unmerge();
}

std::vector<Tensor> DecoderBlock::weight_tensors() const {
  std::vector<Tensor> all = attention_.weight_tensors();
  for (const Linear* layer : {&gate_up_, &down_}) {
    std::ranges::copy(layer->weight_tensors(), std::back_inserter(all));
  }
  return all;
}

VisionBlock::VisionBlock(const VisionBlockOptions& options, DType dtype, Device& device)
    : norm1_(options.width, options.eps, dtype, device),
      norm2_(options.width, options.eps, dtype, device),
      attention_({.width = options.width,
                  .heads = {options.heads, options.heads, options.width / options.heads},
                  .qkv_bias = true,
                  .output_bias = true,
                  .output = "out_proj"},
                 dtype, device),
      fc1_(options.width, {{"fc1", options.ffn}}, true, dtype, device),
      fc2_(options.ffn, {{"fc2", options.width}}, true, dtype, device),
      activation_(options.activation) {}

Variable VisionBlock::forward(const Variable& x, const Context& context) {
  const Variable h = attention_.add_to(x, norm1_.forward(x), context);
  return fc2_.add_to(h, fc1_.forward(norm2_.forward(h), context, activation_), context);
}

void VisionBlock::visit(const std::string& prefix, const ParameterVisitor& visitor) {
  norm1_.visit(qualified(prefix, "layer_norm1"), visitor);
  attention_.visit(qualified(prefix, "self_attn"), visitor);
  norm2_.visit(qualified(prefix, "layer_norm2"), visitor);
  fc1_.visit(qualified(prefix, "mlp"), visitor);
  fc2_.visit(qualified(prefix, "mlp"), visitor);
}

void VisionBlock::quantize(const Quantization& how) {
  attention_.quantize(how);
  fc1_.quantize(how);
  fc2_.quantize(how);
}

void VisionBlock::freeze(Packing packing) {
  attention_.freeze(packing);
  fc1_.freeze(packing);
  fc2_.freeze(packing);
}

}  // namespace skymm
