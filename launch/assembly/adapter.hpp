// What trained, outside of training: adapters as PEFT writes and reads them (adapter_config.json,
// adapter_model.safetensors), and pretrained models with an adapter merged into them or with weights that trained.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "io/hash.hpp"
#include "io/weights/safetensors.hpp"
#include "launch/assembly/pretrained.hpp"
#include "launch/config/config.hpp"

namespace skymm {

inline constexpr std::string_view peft_prefix = "base_model.model.";  // in front of every name in PEFT's files

bool is_lora(const std::string& name);  // "model.layers.0.self_attn.q_proj.lora_A.weight"

struct Adapter {
  std::int64_t rank = 0;
  double alpha = 0, dropout = 0;
  bool rank_stabilized = false;                    // scaled by alpha / sqrt(rank)
  std::vector<std::string> targets;                // "q_proj", ...
  std::string base;                                // what it was trained on: a path or a preset
  std::map<std::string, std::string> frozen = {};  // the same by its hashes: FrozenParts (weight_file.hpp), if known
  NamedTensors tensors;  // "model.layers.0.self_attn.q_proj.lora_A.weight" [rank, in], lora_B [out, rank]

  double scaling() const;
};

// What a run trained: its trained.safetensors or newest checkpoint, or the given file (safetensors or a checkpoint).
struct TrainedRun {
  TrainConfig config;
  std::string file;  // that the tensors are from
  NamedTensors tensors;
  std::map<std::string, std::string> frozen = {};  // FrozenParts, where the file tells
};
TrainedRun read_trained(const std::string& run_dir, const std::string& file = "");

// Throws Error where the run has no LoRA.
Adapter adapter_of(const TrainedRun& run);

// PEFT's folder. Throws Error that names what is not plain LoRA (DoRA, ranks by pattern, trained biases), a matrix
// without its partner, and shapes that do not belong together.
Adapter read_adapter(const std::string& folder);
Adapter read_adapter_config(const std::string& folder);  // the same without targets and tensors
void write_adapter(const Adapter& adapter, const std::string& folder);

// `base` with the adapter's terms added to the weights, W + scaling B A, summed in f32 and rounded once to W's dtype
// (f32 of quantised weights becomes bf16). One tensor exists at a time. Throws Error for a target that `base` lacks.
std::vector<PlannedTensor> merged(const WeightSource& base, const Adapter& adapter);

// The pretrained `part` with what a run trained in the place of its weights, in their dtype (bf16 where they were
// quantised); what the run did not train stays. trained: by the model's names. Throws Error for a tensor that has no
// place in the part or another shape. One tensor exists at a time beside the trained ones.
std::vector<PlannedTensor> replaced(const PretrainedPart& part, const NamedTensors& trained);

// Into model.safetensors or, where that would be larger than `shard_bytes`, into shards with an index.
void write_model(const std::string& folder, const std::vector<PlannedTensor>& tensors, std::uint64_t shard_bytes);

}  // namespace skymm
