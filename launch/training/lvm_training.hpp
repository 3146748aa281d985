// `skymm train` with train.objective = lvm: makes the frozen vision model of later stages from annotated canvases.
#pragma once

#include "core/communicator.hpp"
#include "launch/config/config.hpp"

namespace skymm {

// Trains on config.data.train (canvases), measures on config.data.validation, and leaves metrics and, at the end,
// `lvm.safetensors` (the ViT by its names in a multimodal model, in bf16) in the run directory.
void train_lvm(const TrainConfig& config, Communicator& world);

// What the frozen features are worth, on held-out canvases.
struct LvmQuality {
  double patch_names_english = 0, patch_names_chinese = 0;  // share of object patches whose best name is right
  double retrieval_english = 0, retrieval_chinese = 0;      // share of pictures whose own caption is the best of 256
};

}  // namespace skymm
