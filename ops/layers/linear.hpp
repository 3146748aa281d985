// A linear layer, or several that share an input and so run as one product (q, k and v; gate and up). Each part keeps
// its own name, weight, bias and, where chosen, LoRA.
#pragma once

#include <string>
#include <vector>

#include "core/parameter.hpp"
#include "ops/functions/linear.hpp"
#include "ops/layers/context.hpp"

namespace skymm {

struct LoraOptions {
  std::int64_t rank = 0;  // 0: no LoRA
  float alpha = 16.0F;
  float dropout = 0.0F;
  bool rank_stabilized = false;      // scaling alpha / sqrt(rank) (Kalajdzievski 2023), not alpha / rank
  std::vector<std::string> targets;  // names of linear layers, "q_proj"; empty: all of the decoder but the head
};

class Linear final : public Module {
 public:
  struct Part {
    std::string name;
    std::int64_t out = 0;
    Shape weight_shape = {};  // [out, in] unless given; rows of `in` elements in any case
  };

  Linear(std::int64_t in, std::vector<Part> parts, bool bias, DType dtype, Device& device);
  Linear(const Linear&) = delete;
  Linear& operator=(const Linear&) = delete;

  // x [T, in] -> [T, sum of outs], the parts side by side.
  Variable forward(const Variable& x, const Context& context, Activation activation = Activation::none);
  // Of the patches of pixels [images, channels, height, width]: [images * patches, sum of outs].
  Variable forward_patches(const Variable& pixels, std::int64_t patch, const Context& context);
  // forward(swiglu(gate_up)), keeping less for the gradient.
  Variable forward_swiglu(const Variable& gate_up, const Context& context);
  // residual + forward(x); may consume `residual` (see add_linear).
  Variable add_to(const Variable& residual, const Variable& x, const Context& context);

  // Gives LoRA to the parts that the options name; returns how many. `prefix` is the layer's own, as visit gets it: the
  // names decide the dropout's random numbers.
  int add_lora(const std::string& prefix, const LoraOptions& options);

  // Says, before they are loaded, that the base weights will not train and are kept in few bits: releases the memory of
  // Parameter::value; Parameter::quantized takes its place.
  void quantize(const Quantization& how);
  // Says that the base weights will not train: brings them into the form that computes fastest. With Packing::none they
  // stay plain; otherwise Parameter::value is released. Quantised ones stay as they are.
  void freeze(Packing packing);

  // The memory of the base weights, in the form that computes: plain, packed or quantised.
  std::vector<Tensor> weight_tensors() const { return weight_->tensors(); }

  // Adds the low-rank terms to the base weights and stops computing them, and the opposite. Twice is an Error. A
  // quantised layer computes with a plain copy while it is merged.
  void merge();
  void unmerge();

  // "prefix.q_proj.weight", ".bias", ".lora_A.weight", ".lora_B.weight", part by part.
  void visit(const std::string& prefix, const ParameterVisitor& visitor) override;

 private:
  struct Lora {
    Parameter a, b;
    float scaling = 1.0F, dropout = 0.0F;
    std::uint32_t operation = 0;
  };
  struct Entry {
    Part part;
    Parameter weight, bias;
    std::unique_ptr<Lora> lora;
  };

  LinearMaps maps(const Context& context);
  void add_low_rank_to_weight(float sign);
  LinearWeightPtr stacked_codes() const;

  std::int64_t in_;
  DType dtype_;
  Device& device_;
  std::vector<Entry> entries_;
  Tensor plain_;  // [sum of outs, in]; the parts' values are its rows. Undefined once packed or quantised.
  Tensor bias_;
  Tensor lora_a_;  // [sum of ranks, in]; the A's are its rows
  LinearWeightPtr weight_;
  Packing packing_ = Packing::none;
  bool quantized_ = false, merged_ = false;
};

}  // namespace skymm
