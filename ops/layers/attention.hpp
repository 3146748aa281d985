// Attention layers.
#pragma once

#include "ops/functions/attention.hpp"
#include "ops/layers/linear.hpp"

namespace skymm {

struct SelfAttentionOptions {
  std::int64_t width = 0;
  HeadCounts heads;
  bool qkv_bias = false, output_bias = false;
  float theta = 0.0F;             // of rotary positions; 0: none
  std::string output = "o_proj";  // the output projection's name
};

// q, k, v of one input, attention as Context::attention says (causal or full), output projection.
class SelfAttention final : public Module {
 public:
  SelfAttention(const SelfAttentionOptions& options, DType dtype, Device& device);

  Variable forward(const Variable& x, const Context& context) { return project(heads(x, context), context); }
  // forward in its two parts: x -> the heads' outputs [T, H D], and their projection.
  Variable heads(const Variable& x, const Context& context);
  Variable project(const Variable& heads, const Context& context) { return output_.forward(heads, context); }
  // residual + forward(x); may consume `residual`.
  Variable add_to(const Variable& residual, const Variable& x, const Context& context) {
    return output_.add_to(residual, heads(x, context), context);
  }

  void visit(const std::string& prefix, const ParameterVisitor& visitor) override;
  int add_lora(const std::string& prefix, const LoraOptions& options);
  void quantize(const Quantization& how);
  void freeze(Packing packing);
  void merge(bool in);                         // false: unmerge
  std::vector<Tensor> weight_tensors() const;  // of the linear layers (Linear::weight_tensors)

 private:
  SelfAttentionOptions options_;
  Linear qkv_, output_;
};

// Projections [T, H D] of queries from one input and of keys and values from another, each [T, width].
struct CrossAttentionShape {
  std::int64_t sequences = 0, queries = 0, keys = 0;  // of every sequence
  AttentionShape shape(float scale, Device& device) const;
};

}  // namespace skymm
