// The header of a checkpoint, as JSON: docs/formats.md.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/checkpoint.hpp"

namespace skymm {

inline constexpr int checkpoint_version = 2;

nlohmann::json checkpoint_header(const CheckpointInfo& info, const std::vector<StoredTensor>& tensors);

// Throw nlohmann::json::exception where something is missing or of another type.
CheckpointInfo checkpoint_info(const nlohmann::json& header);
std::vector<StoredTensor> checkpoint_tensors(const nlohmann::json& header);

// "tensors/scale/m": the data set of a tensor's array.
std::string checkpoint_place(const std::string& tensor, int array);

}  // namespace skymm
