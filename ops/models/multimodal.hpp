// The multimodal language model: what the system trains.
//
//   pixels -> ViT -> resampler -> visual tokens --+
//                                                 +--> decoder with LoRA -> loss
//   tokens -> embedding table -> text tokens -----+
//
//   Multimodal model(config, DType::bf16, cpu());
//   initialize(model, seed);                 // then load weights by name over it
//   model.freeze();                          // packs what does not train
//   Graph graph;
//   Variable loss = model.loss(graph, batch);           // f32 [1]: a sum over labels
//   graph.backward(loss, Tensor::full({1}, DType::f32, 1));
//
// The config says what trains; all the rest is frozen, costs no gradient, and keeps no activations for one. A config
// without vision is a decoder alone, and the code is the same.
//
// Parameters are named as in Hugging Face: vision_model..., model.layers.N..., lm_head.weight, with PEFT's
// ....lora_A.weight and .lora_B.weight beside; and resampler....
#pragma once

#include <memory>
#include <string>

#include "ops/layers/init.hpp"
#include "ops/models/batch.hpp"
#include "ops/models/decoder.hpp"
#include "ops/models/resampler.hpp"
#include "ops/models/vision.hpp"

namespace skymm {

class Multimodal final : public Module {
 public:
  Multimodal(const MultimodalConfig& config, DType dtype, Device& device);

  // The sum of the labels' cross entropies, f32 [1]. A batch without labels (or without samples) costs nothing: a zero
  // that no gradient goes through.
  Variable loss(Graph& graph, const Batch& batch);
  // [rows, vocabulary]: the scores of the token after each of `rows` (i32), for generation and evaluation.
  Tensor logits(Graph& graph, const Batch& batch, const Tensor& rows);
  // [images * patches, width] of the ViT: what Batch::features may carry instead of pixels.
  Tensor features(const Tensor& pixels);

  // The same in pieces, where a pipeline may cut: embed, layer 0, 1, ... layers() - 1, head_loss. Activations between
  // them are [T, decoder width].
  Variable embed(Graph& graph, const Batch& batch);
  Variable visual_tokens(Graph& graph, const Batch& batch);
  Variable layer(std::int64_t i, const Variable& x, const Batch& batch);
  Variable head_loss(const Variable& x, const Batch& batch);
  std::int64_t layers() const { return decoder_.layers(); }

  // Brings frozen weights into the form that computes fastest. Once, after they were loaded; the values of those
  // parameters are gone then (their shapes stay).
  void freeze();
  // Adds LoRA's terms to the frozen weights, for export or for faster answers; and the opposite.
  void merge_lora() { decoder_.merge_lora(true); }
  void unmerge_lora() { decoder_.merge_lora(false); }

  const MultimodalConfig& config() const { return config_; }
  DType dtype() const { return dtype_; }
  Device& device() const { return device_; }
  void visit(const std::string& prefix, const ParameterVisitor& visitor) override;

 private:
  MultimodalConfig config_;
  DType dtype_;
  Device& device_;
  std::unique_ptr<VisionTransformer> vision_;
  std::unique_ptr<Resampler> resampler_;
  Decoder decoder_;
};

// What trains and what does not, for people: a line a group with tensors, parameters and share, and the totals.
std::string trainable_table(Module& module);

}  // namespace skymm
