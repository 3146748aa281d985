// A finished or running training run, opened to be used: its config and its model with the trained weights.
#pragma once

#include <string>

#include "core/communicator.hpp"
#include "launch/assembly/assembly.hpp"
#include "launch/config/config.hpp"
#include "launch/config/options.hpp"

namespace skymm {

struct Run {
  TrainConfig config;
  Assembly assembly;
};

// Of the run directory `dir`: config.ini with trained.safetensors, or, while the run goes on, with its newest
// checkpoint. Throws Error that says what is missing and which command makes it. device: in place of the run's own
// (run.device); "": that one.
Run open_run(const std::string& dir, const std::string& device = "");
// The same on each of `replicas`, which share its frozen weights. Collective.
Run open_run(const std::string& dir, Communicator& replicas, const std::string& device = "");

// For commands that open a run.
constexpr Flag device_flag = {
    "device", "DEVICE", "what computes: cpu, cuda or emulated-cuda; without it the device that the run trained on"};

}  // namespace skymm
