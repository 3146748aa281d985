// Transformer blocks: residual connections around attention and MLP.
#pragma once

#include "ops/layers/attention.hpp"
#include "ops/layers/norm.hpp"
#include "ops/layers/recompute.hpp"

namespace skymm {

struct DecoderBlockOptions {
  std::int64_t width = 0, ffn = 0;
  HeadCounts heads;
  float eps = 1e-5F, theta = 1e4F;
  bool qkv_bias = false;
};

// LLaMA's: x += attention(rms_norm(x)); x += down(silu(gate(y)) * up(y)), y = rms_norm(x). Names as in Hugging Face.
class DecoderBlock final : public Module {
 public:
  DecoderBlock(const DecoderBlockOptions& options, DType dtype, Device& device);

  Variable forward(const Variable& x, const Context& context, Recompute mode = Recompute::none);

  void visit(const std::string& prefix, const ParameterVisitor& visitor) override;
  int add_lora(const std::string& prefix, const LoraOptions& options);
  void quantize(const Quantization& how);  // the linear layers; before weights are loaded
  void freeze(Packing packing);
  void merge(bool in);                         // false: unmerge
  std::vector<Tensor> weight_tensors() const;  // of the linear layers (Linear::weight_tensors)

 private:
  Variable attend(const Variable& x, const Context& context, Recompute mode);
  Variable mlp(const Variable& x, const Context& context);

  RmsNorm input_norm_, post_attention_norm_;
  SelfAttention attention_;
  Linear gate_up_, down_;
};

struct VisionBlockOptions {
  std::int64_t width = 0, heads = 0, ffn = 0;
  float eps = 1e-5F;
  Activation activation = Activation::quick_gelu;
};

// CLIP's ViT block, pre-norm: x += attention(layer_norm1(x)); x += fc2(activation(fc1(layer_norm2(x)))). Where no
// gradient passes through, forward consumes x: the residual stream is one tensor.
class VisionBlock final : public Module {
 public:
  VisionBlock(const VisionBlockOptions& options, DType dtype, Device& device);

  Variable forward(const Variable& x, const Context& context);

  void visit(const std::string& prefix, const ParameterVisitor& visitor) override;
  void quantize(const Quantization& how);  // the linear layers; before weights are loaded
  void freeze(Packing packing);

 private:
  LayerNorm norm1_, norm2_;
  SelfAttention attention_;
  Linear fc1_, fc2_;
  Activation activation_;
};

}  // namespace skymm
