// `skymm data encode`: what a recipe's frozen ViT makes of the pictures of its data sets, kept beside them.
#pragma once

#include <string>
#include <vector>

#include "core/communicator.hpp"
#include "launch/config/config.hpp"

namespace skymm {

// Writes the features of every data set that `config` trains and validates on, each rank a share of the pictures; what
// is there and fits stays as it is. A picture that cannot be decoded is left out and counted: training leaves a hole in
// its place, as it would have. Collective.
void encode_pictures(const TrainConfig& config, Communicator& ranks);

// The arguments after `data encode`. Returns the exit code.
int encode_command(const std::vector<std::string>& arguments);

}  // namespace skymm
