// A LLaMA-style decoder, cut where a pipeline may cut it: embed, layers, head. Names as in Hugging Face's
// LlamaForCausalLM.
#pragma once

#include <memory>
#include <vector>

#include "ops/functions/loss.hpp"
#include "ops/layers/blocks.hpp"
#include "ops/models/cut.hpp"

namespace skymm {

// What of a decoder is held, and how. A tied table is there for either of its uses.
struct DecoderParts {
  bool embedding = true, head = true;
  std::vector<BlockRange> layers;
  std::optional<Quantization> quantization = {};  // of the layers' frozen linear weights; the head's stay as they are
};

class Decoder final : public Module {
 public:
  Decoder(const DecoderConfig& config, DType dtype, Device& device);  // all of it
  Decoder(const DecoderConfig& config, DType dtype, Device& device, const DecoderParts& held);

  // tokens i32 [T] -> [T, width]; zeros where a token is negative.
  Variable embed(Graph& graph, const Tensor& tokens);
  Variable layer(std::int64_t i, const Variable& x, const Context& context, Recompute mode = Recompute::none);
  // The sum over rows of x of the cross entropy with label_ids. rows i32 [L] are taken first, so that norm and head see
  // no others.
  Variable loss(const Variable& x, const Tensor& rows, const Tensor& label_ids, std::int64_t chunk_rows);
  Tensor logits(const Variable& x, const Tensor& rows);  // [L, vocabulary]

  const DecoderConfig& config() const { return config_; }
  std::int64_t layers() const { return config_.layers; }
  void visit(const std::string& prefix, const ParameterVisitor& visitor) override;

  // LoRA on the linear layers that the options name. Throws Error for a name that no layer has.
  void add_lora(const LoraOptions& options);
  // Linear::freeze of what the layers [begin, end) hold; of the head, where it is not tied.
  void freeze(BlockRange layers, Packing packing);
  void freeze_head(Packing packing);
  void merge_lora(bool in);  // false: unmerge
  // The memory of a layer's linear weights, LoRA's apart (Linear::weight_tensors).
  std::vector<Tensor> layer_tensors(std::int64_t i) const { return block(i).weight_tensors(); }

 private:
  bool has_table() const { return held_.embedding || (held_.head && config_.tied); }
  DecoderBlock& block(std::int64_t i) const;

  DecoderConfig config_;
  DecoderParts held_;
  Parameter embedding_;
  std::vector<std::unique_ptr<DecoderBlock>> blocks_;  // null where not held
  std::unique_ptr<RmsNorm> norm_;                      // with the head
  Parameter head_;                                     // where not tied
  LinearWeightPtr head_weight_;
};

}  // namespace skymm
