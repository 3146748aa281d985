// A training run small enough for an emulated GPU, and what two runs of it on different devices must agree on.
#pragma once

#include <cstdlib>
#include <map>

#include "io/weights/safetensors.hpp"
#include "support/support.hpp"
#include "support/tiny_training.hpp"

namespace skymm::testing {

// As run.device has it: the tested device's, or the emulated one where the environment names none.
inline std::string cuda_device_name() {
  const char* name = std::getenv("SKYMM_TEST_DEVICE");
  if (name == nullptr) return "emulated-cuda";
  tested_device();  // ends the program where there is none
  return name;
}

// Makes `dir`, as tiny_training() does. Two samples a step, with and without a picture.
inline TrainConfig device_training(const std::string& dir) {
  TrainConfig config = tiny_training(dir);
  config.train.global_batch = 2;
  config.train.micro_batch = 1;
  config.train.schedule = "constant";  // the cosine depends on the number of steps
  config.train.warmup_steps = 1;
  config.train.learning_rate = 2e-3F;
  // In Adam's hands the rounding noise of a small gradient becomes steps of full length, unless epsilon is above it.
  config.train.epsilon = 1e-3F;
  return config;
}

// Losses, and all trained weights together, of two run directories of f32: relative error at most 1e-5. Of no tensor is
// it more than 1e-4: gradients that are what is left of sums that cancel (of what all queries of a softmax have alike)
// lose digits.
inline void expect_same_training(const std::string& run, const std::string& reference) {
  EXPECT_FALSE(losses_of(run).empty());
  EXPECT_LE(relative_error(losses_of(run), losses_of(reference)), 1e-5);
  Values all, all_expected;
  const SafetensorsReader trained(run + "/trained.safetensors"), expected(reference + "/trained.safetensors");
  EXPECT_EQ(trained.entries().size(), expected.entries().size());
  for (const WeightEntry& entry : expected.entries()) {
    const Values values = values_of(trained.read(entry.name)), wanted = values_of(expected.read(entry.name));
    EXPECT_LE(relative_error(values, wanted), 1e-4) << entry.name;
    all.insert(all.end(), values.begin(), values.end());
    all_expected.insert(all_expected.end(), wanted.begin(), wanted.end());
  }
  EXPECT_LE(relative_error(all, all_expected), 1e-5);
}

}  // namespace skymm::testing
