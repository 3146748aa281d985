#include "launch/training/resume.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "core/log.hpp"
#include "core/trace.hpp"
#include "io/checkpoint_folder.hpp"
#include "launch/config/config_changes.hpp"
#include "parallel/gather_text.hpp"
#include "parallel/job.hpp"

namespace skymm {
namespace {

// With another value the trained tensors are the same, but not what they compute.
bool changes_model(const std::string& option, const TrainConfig& config) {
  const bool lora = std::ranges::find(config.model.train, "lora") != config.model.train.end();
  return (lora && (option == "model.lora_alpha" || option == "model.rslora")) || option == "model.resampler_positions";
}

// Why the checkpoint cannot go on as this run; empty where it can.
std::string refusal(const CheckpointFile& file, const TrainConfig& config,
                    const std::map<std::string, std::uint64_t>& frozen, const Optimizer& optimizer) {
  std::vector<ExpectedTensor> expected;
  for (const SpreadTensor& tensor : optimizer.tensors()) expected.push_back({tensor.name, tensor.shape});
  std::string differences = checkpoint_differences(file, expected, frozen);
  const bool other_model = !differences.empty();
  for (const ConfigChange& change : config_changes(file.info().config, to_ini(config))) {
    const bool told = other_model ? change.option.starts_with("model.") : changes_model(change.option, config);
    if (told) differences += "\n  " + change.str();
  }
  if (differences.empty()) return "";
  return fmt::format(
      "the checkpoint {} belongs to another model; give the config and weights it was made with, or start "
      "anew in another run.dir (here: run.resume none):{}",
      file.path(), differences);
}

// Rank 0's choice, told to all.
struct Candidate {
  std::optional<CheckpointFile> file;
  std::string refused;
};

// The next that can be opened, from `next` on; the others are passed over.
Candidate choose(const std::vector<CheckpointEntry>& entries, std::size_t& next, bool newest,
                 std::set<std::string>& damaged) {
  Candidate candidate;
  while (next < entries.size() && !candidate.file && candidate.refused.empty()) {
    const std::string& path = entries[next++].path;
    try {
      candidate.file.emplace(path);
    } catch (const Error& error) {
      if (!newest) {
        candidate.refused = error.message();
      } else {
        log::warn("passing over a checkpoint: {}", error.message());
        damaged.insert(path);
      }
    }
  }
  return candidate;
}

// The chosen file's text(), on every rank; empty where there is none. Throws on all where rank 0 refuses it.
std::string share(const Candidate& candidate, Communicator& world) {
  const std::string refused = broadcast_text(world, candidate.refused);
  check(refused.empty(), "{}", refused);
  return broadcast_text(world, candidate.file ? candidate.file->text() : "");
}

// [3, elements] of each state of this rank. They are copied once all ranks have read theirs.
std::vector<Tensor> read_states(const CheckpointFile& file, const std::vector<Optimizer::State>& states) {
  const PurposeScope purpose(Purpose::checkpoints);
  std::vector<Tensor> read;
  for (const Optimizer::State& state : states) {
    const std::int64_t size = state.slice.size();
    const std::size_t tensor = file.find(state.slice.tensor);
    const int arrays = file.tensors()[tensor].arrays();
    const Tensor values = arrays == 3 ? Tensor::empty({3, size}, DType::f32) : Tensor::zeros({3, size}, DType::f32);
    current_stream(cpu()).synchronize();
    for (int array = 0; array < arrays; ++array) {  // without moments they start anew
      file.read(tensor, array, state.slice.begin, state.slice.end, values.data<float>() + array * size);
    }
    read.push_back(values);
  }
  return read;
}

void copy_states(const std::vector<Tensor>& read, const std::vector<Optimizer::State>& states) {
  for (std::size_t i = 0; i < states.size(); ++i) {
    const Tensor* parts[] = {&states[i].master, &states[i].m, &states[i].v};
    for (int array = 0; array < 3; ++array) {
      parts[array]->copy_from(read[i].slice(0, array, array + 1).view({states[i].slice.size()}));
    }
  }
}

// The first reason of any rank why it could not read its elements; empty where all could.
std::string first_failure(const std::string& mine, Communicator& world) {
  const std::vector<std::string> failures = gather_text(world, mine);
  for (std::size_t rank = 0; rank < failures.size(); ++rank) {
    if (!failures[rank].empty()) return fmt::format("{} (found by rank {})", failures[rank], rank);
  }
  return "";
}

// run.resume, but of a start that was made again by itself: that goes on from what the one before has saved, or
// run.resume none and FILE would do the same steps again and again.
std::string what_to_resume(const TrainConfig& config, Communicator& world) {
  std::string asked = config.run.resume;
  if (world.rank() == 0 && asked != "auto" && read_job().restarts > 0 &&
      !checkpoints_in(checkpoint_folder(config.run.dir)).empty()) {
    log::info("run.resume {} was for the first start; this one goes on from the newest checkpoint", asked);
    asked = "auto";
  }
  return broadcast_text(world, asked);
}

void tell(const CheckpointFile& file, const TrainConfig& config) {
  const CheckpointInfo& info = file.info();
  log::info("resumed from {} after step {}, written on {}", file.path(), info.step,
            info.grid.empty() ? "a grid that it does not tell" : info.grid);
  for (const ConfigChange& change : config_changes(info.config, to_ini(config))) {
    if (!change.option.starts_with("run.")) log::info("since that checkpoint: {}", change.str());
  }
  if (info.seed != config.run.seed) {
    log::info("run.seed was {}, now {}: the order of samples and dropout are others from here on", info.seed,
              config.run.seed);
  }
}

}  // namespace

Resumed resume(const TrainConfig& config, const std::map<std::string, std::uint64_t>& frozen, Optimizer& optimizer,
               Communicator& world) {
  const TraceSpan span("resume", "io");
  Resumed resumed;
  const std::string folder = checkpoint_folder(config.run.dir), asked = what_to_resume(config, world);
  if (asked == "none") {
    if (world.rank() == 0) set_checkpoints_aside(folder, 0);
    return resumed;
  }
  const bool newest = asked == "auto";
  std::vector<CheckpointEntry> entries;
  if (world.rank() == 0) {
    entries = newest ? checkpoints_in(folder) : std::vector<CheckpointEntry>{{0, asked}};
  }
  for (std::size_t next = 0;;) {
    Candidate candidate;
    if (world.rank() == 0) {
      candidate = choose(entries, next, newest, resumed.damaged);
      if (candidate.file) candidate.refused = refusal(*candidate.file, config, frozen, optimizer);
    }
    const std::string text = share(candidate, world);
    if (text.empty()) return resumed;
    std::optional<CheckpointFile> file;
    std::vector<Tensor> read;
    std::string failure;
    try {
      file = CheckpointFile::from_text(text);
      read = read_states(*file, optimizer.states());
    } catch (const Error& error) {
      failure = error.message();
    }
    failure = first_failure(failure, world);
    if (failure.empty()) {
      copy_states(read, optimizer.states());
      optimizer.restore(file->info().updates);
      tell(*file, config);
      if (!newest && world.rank() == 0) set_checkpoints_aside(folder, file->info().step);
      resumed.from = {file->path(), file->info()};
      return resumed;
    }
    check(newest, "{}", failure);
    if (world.rank() == 0) {
      log::warn("passing over a checkpoint: {}", failure);
      resumed.damaged.insert(candidate.file->path());
    }
  }
}

}  // namespace skymm
