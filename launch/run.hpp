// A finished or running training run, opened to be used: its config and its model with the trained weights.
#pragma once

#include <string>

#include "core/communicator.hpp"
#include "launch/assembly.hpp"
#include "launch/config.hpp"

namespace skymm {

struct Run {
  TrainConfig config;
  Assembly assembly;
};

// Of the run directory `dir`: config.ini with trained.safetensors, or, while the run goes on, with its newest
// checkpoint. Throws Error that says what is missing and which command makes it.
Run open_run(const std::string& dir);
// The same on each of `replicas`, which share its frozen weights. Collective.
Run open_run(const std::string& dir, Communicator& replicas);

}  // namespace skymm
