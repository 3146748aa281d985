#include "launch/run.hpp"

#include <filesystem>

#include "core/error.hpp"
#include "core/log.hpp"
#include "io/checkpoint_folder.hpp"
#include "parallel/communicator.hpp"

namespace skymm {
namespace {

void load_newest_checkpoint(Module& model, const std::string& dir) {
  const std::optional<CheckpointFile> found = newest_checkpoint(checkpoint_folder(dir));
  check(found.has_value(), "the run in {} has neither trained.safetensors nor a checkpoint yet", dir);
  for (const NamedParameter& entry : trainable_parameters(model)) {
    const std::vector<float> value = found->read_whole(found->find(entry.name), 0);
    entry.parameter->value.copy_from(Tensor::from(value, entry.parameter->shape));
  }
  log::info("the run goes on: its weights after step {} are taken from {}", found->info().step, found->path());
}

}  // namespace

Run open_run(const std::string& dir, const std::string& device) {
  SingleCommunicator alone;
  return open_run(dir, alone, device);
}

Run open_run(const std::string& dir, Communicator& replicas, const std::string& device) {
  const std::string config = dir + "/config.ini", trained = dir + "/trained.safetensors";
  check(std::filesystem::exists(config), "{} is no run directory: it has no config.ini; skymm train makes one", dir);
  const bool finished = std::filesystem::exists(trained);
  Run run;
  std::vector<std::string> options{"--config", config};
  if (!device.empty()) options.insert(options.end(), {"--device", device});
  if (!device.empty() && device != "cuda") options.insert(options.end(), {"--run.cudnn", "none"});
  run.config = *parse_config(options);
  if (finished) run.config.model.weights.push_back(trained);
  run.assembly = assemble(run.config, replicas);
  if (!finished) load_newest_checkpoint(*run.assembly.model, dir);
  return run;
}

}  // namespace skymm
