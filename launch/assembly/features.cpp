#include "launch/assembly/features.hpp"

#include <array>
#include <filesystem>

#include "core/error.hpp"

namespace skymm {
namespace {

std::string name_of(Fit fit) { return fit == Fit::crop ? "crop" : fit == Fit::pad ? "pad" : "stretch"; }
std::string name_of(Activation activation) {
  constexpr std::array names{"none", "relu", "silu", "gelu", "gelu_tanh", "quick_gelu"};
  return names.at(static_cast<std::size_t>(activation));
}

}  // namespace

FeatureInfo feature_info(const Dataset& dataset, const TrainConfig& config, const Assembly& assembly) {
  const VisionConfig& vision = *assembly.model->config().vision;
  const ImageSpec& images = assembly.images;
  return {.pictures = dataset.image_count(),
          .rows = vision.patches(),
          .width = vision.width,
          .dtype = assembly.model->dtype(),
          .dataset = dataset.identity(),
          .made_by = {{"weights of the ViT", fmt::format("{:016x}", assembly.vision_hash)},
                      {"output layer of the ViT", std::to_string(vision.blocks())},
                      {"heads of the ViT", std::to_string(vision.heads)},
                      {"epsilon of the ViT", fmt::format("{}", vision.eps)},
                      {"activation of the ViT", name_of(vision.activation)},
                      {"size of pictures", std::to_string(images.size)},
                      {"fit of pictures", name_of(images.fit)},
                      {"resized sides", "rounded down"},
                      {"mean of pixels", fmt::format("{}", fmt::join(images.mean, " "))},
                      {"deviation of pixels", fmt::format("{}", fmt::join(images.std, " "))},
                      {"data.fast_jpeg", config.data.fast_jpeg ? "true" : "false"}}};
}

std::shared_ptr<const Features> open_features(const Dataset& dataset, const TrainConfig& config,
                                              const Assembly& assembly) {
  if (dataset.image_count() == 0) return nullptr;
  const std::string path = features_path(dataset.path());
  check(std::filesystem::exists(path),
        "data.features: {} has no features, there is no {}; skymm data encode --config RECIPE.ini makes it",
        dataset.path(), path);
  auto features = std::make_shared<const Features>(path);
  const std::string differences = feature_differences(features->info(), feature_info(dataset, config, assembly));
  check(differences.empty(), "data.features: {} does not fit this run:{}\nEncode again, or set data.features false",
        path, differences);
  return features;
}

}  // namespace skymm
