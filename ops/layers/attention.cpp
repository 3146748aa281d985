#include "ops/layers/attention.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <vector>

namespace skymm {

Tensor uniform_offsets(std::int64_t count, std::int64_t length, Device& device) {
  std::vector<std::int32_t> offsets(static_cast<std::size_t>(count + 1));
  for (std::int64_t i = 0; i <= count; ++i)
    offsets[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(i * length);
  return Tensor::from(offsets, {count + 1}, device);
}

SelfAttention::SelfAttention(const SelfAttentionOptions& options, DType dtype, Device& device)
    : options_(options),
      qkv_(options.width,
           {{"q_proj", options.heads.queries * options.heads.width},
            {"k_proj", options.heads.keys_values * options.heads.width},
            {"v_proj", options.heads.keys_values * options.heads.width}},
           options.qkv_bias, dtype, device),
      output_(options.heads.queries * options.heads.width, {{options.output, options.width}}, options.output_bias,
              dtype, device) {}

Variable SelfAttention::heads(const Variable& x, const Context& context) {
  AttentionShape shape = context.attention;
  shape.scale = 1.0F / std::sqrt(static_cast<float>(options_.heads.width));
  const Rotary rotary = options_.theta > 0 ? Rotary{context.positions, options_.theta} : Rotary{};
  const Variable qkv = qkv_.forward(x, context);
  if (context.cache == nullptr) return self_attention(qkv, options_.heads, shape, rotary);
  return cached_self_attention(qkv, options_.heads, shape, rotary, context.cache->layer(context.layer),
                               context.cache->rows());
}

void SelfAttention::visit(const std::string& prefix, const ParameterVisitor& visitor) {
  qkv_.visit(prefix, visitor);
  output_.visit(prefix, visitor);
}

int SelfAttention::add_lora(const std::string& prefix, const LoraOptions& options) {
  return qkv_.add_lora(prefix, options) + output_.add_lora(prefix, options);
}

void SelfAttention::quantize(const Quantization& how) {
  qkv_.quantize(how);
  output_.quantize(how);
}

void SelfAttention::freeze(Packing packing) {
  qkv_.freeze(packing);
  output_.freeze(packing);
}

void SelfAttention::merge(bool in) {
  for (Linear* layer : {&qkv_, &output_}) in ? layer->merge() : layer->unmerge();
}

std::vector<Tensor> SelfAttention::weight_tensors() const {
  std::vector<Tensor> all = qkv_.weight_tensors();
  std::ranges::copy(output_.weight_tensors(), std::back_inserter(all));
  return all;
}

AttentionShape CrossAttentionShape::shape(float scale, Device& device) const {
  return {.query_offsets = uniform_offsets(sequences, queries, device),
          .key_offsets = uniform_offsets(sequences, keys, device),
          .max_queries = queries,
          .max_keys = keys,
          .scale = scale};
}

}  // namespace skymm
