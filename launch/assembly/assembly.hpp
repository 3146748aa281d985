// The model of a run, put together: tokenizer, weights by name, what trains, what is frozen and packed.
#pragma once

#include <memory>

#include "core/communicator.hpp"
#include "io/pixels.hpp"
#include "io/prompt.hpp"
#include "launch/assembly/model_loading.hpp"
#include "launch/assembly/weight_file.hpp"
#include "launch/config/config.hpp"
#include "ops/models/multimodal.hpp"

namespace skymm {

struct Assembly {
  std::shared_ptr<const Tokenizer> tokenizer;
  std::unique_ptr<Multimodal> model;
  ImageSpec images;
  std::int64_t visual_tokens = 0;        // of one picture; 0 for a decoder alone
  std::uint64_t frozen_hash = 0;         // of all frozen weights of the model: a checkpoint belongs to them
  std::uint64_t vision_hash = 0;         // of those of the ViT: features belong to them
  FrozenParts frozen_parts;              // LoRA and a resampler belong to them
  std::string table;                     // trainable_table of the whole model
  std::vector<std::string> files;        // that weights were read from
  SharedWeights shared;                  // what this rank has in common with others of its node
  std::unique_ptr<FrozenShards> shards;  // of frozen layers, as config.parallel.shard_frozen says; may be null

  PromptBuilder prompts(const TrainConfig& config) const;
};

// What config.model describes, with a vocabulary of so many tokens.
MultimodalConfig model_config(const TrainConfig& config, std::int64_t vocabulary);

// Loads config.model, with its ViT whatever data.features says. A frozen weight that no file has, or has in another
// shape, is an Error that lists all such.
Assembly assemble(const TrainConfig& config);
// The same on each of `replicas`, which share frozen weights as config.run.share_frozen says. Collective.
Assembly assemble(const TrainConfig& config, Communicator& replicas);
// The same, but this rank and its replicas hold `pieces` alone; what is known of the whole model comes from all ranks
// of the pipeline. Replicas share out frozen layers where config.parallel.shard_frozen says so. Collective over both.
Assembly assemble(const TrainConfig& config, std::shared_ptr<const Tokenizer> tokenizer,
                  const std::vector<BlockRange>& pieces, Communicator& pipeline, Communicator& replicas);

}  // namespace skymm
