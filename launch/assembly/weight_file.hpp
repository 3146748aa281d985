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

  bool has(const std::string& name) const;  // plain or in few bits
  std::vector<std::string> names() const;   // without the prefix
};

// Each path is what open_weights takes, or a folder with an adapter of PEFT's or what `skymm weights export` wrote,
// whose files then come one after the other. Throws Error for an adapter without its adapter_config.json, or one that
// read_adapter refuses.
std::vector<WeightFile> open_weight_files(const std::vector<std::string>& paths);

// Option -> value, of those that LoRA and the resampler of a run depend on: what is written to the metadata of files.
std::map<std::string, std::string> trained_settings(const ModelConfig& model);

// Throws Error, with both values, where the LoRA or the resampler in a file was trained with other settings than the
// run has; and for LoRA of layers that the run gives none.
void check_settings(const std::vector<WeightFile>& files, const ModelConfig& model, std::int64_t decoder_layers);

}  // namespace skymm
