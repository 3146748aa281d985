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
// The model is a row of blocks (cut.hpp). A rank of a pipeline holds some pieces of it and no other parameter, and runs
// a piece on what the piece before left:
//
//   Multimodal model(config, DType::bf16, cpu(), {{8, 12}});
//   Variable y = model.run({8, 12}, graph, graph.input(x), batch);
//
// Parameters are named as in Hugging Face: vision_model..., model.layers.N..., lm_head.weight, with PEFT's
// ....lora_A.weight and .lora_B.weight beside; and resampler....
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ops/layers/init.hpp"
#include "ops/models/batch.hpp"
#include "ops/models/cut.hpp"
#include "ops/models/decoder.hpp"
#include "ops/models/resampler.hpp"
#include "ops/models/vision.hpp"

namespace skymm {

class Multimodal final : public Module {
 public:
  Multimodal(const MultimodalConfig& config, DType dtype, Device& device);
  // The blocks in `pieces` alone. Parameters, their initial values and their dropout are the same however the model is
  // cut. A tied table that does not train is held by every rank that has a use for it. Throws Error where it trains and
  // `pieces` have but one of its two uses, the embedding and the head: its gradient would be torn apart.
  Multimodal(const MultimodalConfig& config, DType dtype, Device& device, std::vector<BlockRange> pieces);

  // Runs the blocks of a piece. `input` is what entered it: of boundary_shape(config(), piece.begin, sizes(batch)), or
  // undefined for the first piece and wherever that has no rows; it may be consumed. The result is what leaves: it
  // enters the next piece, undefined where nothing crosses; or it is the loss if the head is among the blocks.
  // Throws Error where a block is not held, or the input is not what the batch's sizes promise.
  Variable run(BlockRange piece, Graph& graph, const Variable& input, const Batch& batch);
  BatchSizes sizes(const Batch& batch) const;

  // The sum of the labels' cross entropies, f32 [1]. A batch without labels (or without samples) costs nothing: a zero
  // that no gradient goes through.
  Variable loss(Graph& graph, const Batch& batch);
  // [rows, vocabulary]: the scores of the token after each of `rows` (i32), for generation and evaluation.
  Tensor logits(Graph& graph, const Batch& batch, const Tensor& rows);
  // [images * patches, width] of the ViT: what Batch::features may carry instead of pixels.
  Tensor features(const Tensor& pixels);

  Variable visual_tokens(Graph& graph, const Batch& batch);  // [images * tokens of one, decoder width]
  Variable embed(Graph& graph, const Batch& batch);          // [T, decoder width]: text and visual tokens

  // Brings frozen weights into the form that computes fastest. Once, after they were loaded; the values of those
  // parameters are gone then (their shapes stay).
  void freeze();
  void freeze(BlockRange blocks);  // the same of some that are held, so that a model can be loaded block by block
  // Gives the ViT's memory back, where features come in place of pixels: it was there to be known by its weights.
  void drop_vision();
  // Adds LoRA's terms to the frozen weights, for export or for faster answers; and the opposite.
  void merge_lora() { decoder_.merge_lora(true); }
  void unmerge_lora() { decoder_.merge_lora(false); }

  // The memory of the linear weights of a decoder's layer that is held, LoRA's apart, in the form that computes.
  std::vector<Tensor> layer_tensors(std::int64_t layer) const { return decoder_.layer_tensors(layer); }

  const MultimodalConfig& config() const { return config_; }
  const std::vector<BlockRange>& pieces() const { return pieces_; }  // that are held
  DType dtype() const { return dtype_; }
  Device& device() const { return device_; }
  void visit(const std::string& prefix, const ParameterVisitor& visitor) override;

 private:
  Variable forward(BlockRange piece, Graph& graph, Variable x, const Batch& batch);
  Variable see(BlockRange blocks, Graph& graph, const Variable& x, const Batch& batch);
  bool holds(BlockRange piece) const;

  MultimodalConfig config_;
  DType dtype_;
  Device& device_;
  std::vector<BlockRange> pieces_;
  std::unique_ptr<VisionTransformer> vision_;
  std::unique_ptr<Resampler> resampler_;
  Decoder decoder_;
};

// Of the blocks in a piece that the model holds.
std::vector<NamedParameter> trainable_parameters(Multimodal& model, BlockRange piece);

// What trains and what does not, for people: a line a group with tensors, parameters and share, and the totals.
struct TableEntry {
  std::string name;
  std::int64_t size = 0;  // elements
  bool trainable = false;
};
std::string trainable_table(const std::vector<TableEntry>& parameters);
std::string trainable_table(Module& module);

}  // namespace skymm
