// The features of data sets in a run: what they depend on, and those that fit.
#pragma once

#include <memory>

#include "io/dataset.hpp"
#include "io/features.hpp"
#include "launch/assembly/assembly.hpp"
#include "launch/config/config.hpp"

namespace skymm {

// What the features of this data set are when this model makes them.
FeatureInfo feature_info(const Dataset& dataset, const TrainConfig& config, const Assembly& assembly);

// The features beside the data set; null where it has no pictures. Throws Error where there are none (and says how to
// make them), and where they were made of something else (and says of what).
std::shared_ptr<const Features> open_features(const Dataset& dataset, const TrainConfig& config,
                                              const Assembly& assembly);

}  // namespace skymm
