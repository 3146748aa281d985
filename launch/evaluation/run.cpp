#include "launch/evaluation/run.hpp"

#include <filesystem>

#include "core/error.hpp"
#include "core/log.hpp"
#include "io/checkpoint_folder.hpp"
#include "io/weights/safetensors.hpp"
#include "parallel/communicator.hpp"
#include "parallel/gather_text.hpp"

namespace skymm {
namespace {

// trained.safetensors, or the newest checkpoint of a run that goes on, as rank 0 finds it: the next one may come before
// another rank looks.
std::string trained_weights(const std::string& dir, Communicator& ranks) {
  std::string path;
  if (ranks.rank() == 0) {
    path = dir + "/trained.safetensors";
    if (!std::filesystem::exists(path)) {
      const std::optional<CheckpointFile> newest = newest_checkpoint(checkpoint_folder(dir));
      path = newest ? newest->path() : "";
    }
  }
  path = broadcast_text(ranks, path);
  check(!path.empty(), "the run in {} has neither trained.safetensors nor a checkpoint yet", dir);
  return path;
}

void load_checkpoint(Module& model, const std::string& path) {
  const CheckpointFile file(path);
  for (const NamedParameter& entry : trainable_parameters(model)) {
    const std::vector<float> value = file.read_whole(file.find(entry.name), 0);
    entry.parameter->value.copy_from(Tensor::from(value, entry.parameter->shape));
  }
  log::info("the run goes on: its weights after step {} are taken from {}", file.info().step, path);
}

}  // namespace

Run open_run(const std::string& dir, const std::string& device) {
  SingleCommunicator alone;
  return open_run(dir, alone, device);
}

Run open_run(const std::string& dir, Communicator& replicas, const std::string& device) {
  const std::string config = dir + "/config.ini";
  check(std::filesystem::exists(config), "{} is no run directory: it has no config.ini; skymm train makes one", dir);
  const std::string trained = trained_weights(dir, replicas);
  const bool finished = trained.ends_with(".safetensors");
  Run run;
  std::vector<std::string> options{"--config", config};
  if (!device.empty()) options.insert(options.end(), {"--device", device});
  if (!device.empty() && device != "cuda") options.insert(options.end(), {"--run.cudnn", "none"});
  run.config = *parse_config(options);
  if (finished) run.config.model.weights.push_back(trained);
  run.assembly = assemble(run.config, replicas);
  if (!finished) {
    load_checkpoint(*run.assembly.model, trained);
    return run;
  }
  const SafetensorsReader file(trained);
  for (const NamedParameter& entry : trainable_parameters(*run.assembly.model)) {
    check(file.contains(entry.name), "{} lacks {}, which config.ini trains; they are not of one run", trained,
          entry.name);
  }
  return run;
}

}  // namespace skymm
