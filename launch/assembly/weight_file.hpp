// Files of model.weights: weights by the model's names, and what a file says of how they were trained. LoRA and a
// resampler compute the same again only with the settings that they were trained with, which their shapes do not show,
// and on the same frozen weights.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "io/weights/source.hpp"
#include "launch/config/config.hpp"
#include "ops/models/config.hpp"

namespace skymm {

struct WeightFile {
  std::unique_ptr<WeightSource> source;
  std::string prefix;                           // in front of the model's names: PEFT's, or none
  std::map<std::string, std::string> settings;  // of trained_settings, those that the file tells: none, some or all
  std::map<std::string, std::string> frozen;    // the same of FrozenParts

  bool has(const std::string& name) const;  // plain or in few bits
  std::vector<std::string> names() const;   // without the prefix
};

// Each path is what open_weights takes, or a folder with an adapter of PEFT's or what `skymm weights export` wrote,
// whose files then come one after the other. Throws Error for an adapter without its adapter_config.json, or one that
// read_adapter refuses.
std::vector<WeightFile> open_weight_files(const std::vector<std::string>& paths);

// A weight, plain in the file's dtype, or dequantised to f32.
Tensor read_weight(const WeightSource& file, const std::string& name);

// Option -> value, of those that LoRA and the resampler of a run depend on: what is written to the metadata of files.
std::map<std::string, std::string> trained_settings(const ModelConfig& model);

// What is frozen of a model, as the metadata of files: "frozen.decoder" and "frozen.vision" are hashes of all weights
// of that part, as they are kept; "frozen.decoder.unquantized" and "frozen.vision.unquantized" of those that
// is_block_linear leaves out; "frozen.dtype" is theirs. A part that trains has none.
using FrozenParts = std::map<std::string, std::string>;

// The linear weights of the ViT's and the decoder's blocks, by name and number of dimensions: those that are kept in
// few bits where any are.
bool is_block_linear(const std::string& name, int rank);

// Throws Error, with both values, where the LoRA or the resampler in a file was trained with other settings than the
// run has; and for LoRA of layers that the run gives none.
void check_settings(const std::vector<WeightFile>& files, const ModelConfig& model, std::int64_t decoder_layers);

// Throws Error where LoRA was trained on another LLM than the run's, or a resampler on another ViT: by the weights that
// are never quantised, so that the same model in other bits is none. Warns where a resampler alone comes to another
// LLM, and where linear weights differ: quantised otherwise, or merged.
void check_frozen(const std::vector<WeightFile>& files, const FrozenParts& own);

}  // namespace skymm
