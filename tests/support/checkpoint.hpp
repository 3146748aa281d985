// Checkpoints without a run: some tensors, written by one process in the place of many ranks.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "core/random.hpp"
#include "io/checkpoint_writer.hpp"

namespace skymm::testing {

struct SomeTensor {
  StoredTensor stored;
  std::array<std::vector<float>, 3> arrays;
};

struct SomeCheckpoint {
  CheckpointInfo info;
  std::vector<SomeTensor> tensors;

  std::vector<StoredTensor> stored() const {
    std::vector<StoredTensor> all;
    for (const SomeTensor& tensor : tensors) all.push_back(tensor.stored);
    return all;
  }
  std::vector<ExpectedTensor> expected() const {
    std::vector<ExpectedTensor> all;
    for (const SomeTensor& tensor : tensors) all.push_back({tensor.stored.name, tensor.stored.shape});
    return all;
  }
};

// Random values; the first tensor [4, elements] is in three pieces of uneven size.
inline SomeCheckpoint some_checkpoint(std::int64_t step = 7, std::int64_t elements = 1000) {
  SomeCheckpoint out;
  out.info = {.step = step,
              .updates = step - 1,
              .seed = 0xFFFFFFFFFFFFFFFF,
              .position = (std::int64_t{1} << 40) + step,
              .frozen = {{"llm", 0x123456789ABCDEF0}, {"vit", 1}},
              .origins = {{"/models/熊猫.safetensors", 1234, 0xFEDCBA9876543210}},
              .config = "[model]\nname = nano\n# 熊猫\n",
              .code_version = "1.0-3-gabc",
              .metrics = R"({"loss": 1.5})",
              .grid = "2 x 2"};
  RandomStream random(static_cast<std::uint64_t>(step));
  const auto add = [&](const std::string& name, const Shape& shape, bool moments, std::vector<std::int64_t> begins) {
    SomeTensor& tensor = out.tensors.emplace_back();
    tensor.stored = {name, shape, moments, std::move(begins)};
    for (int array = 0; array < tensor.stored.arrays(); ++array) {
      auto& values = tensor.arrays[static_cast<std::size_t>(array)];
      values.resize(static_cast<std::size_t>(shape.numel()));
      for (float& value : values) value = random.normal();
    }
  };
  add("resampler.queries", {4, elements}, true, {0, elements / 2 + 1, 3 * elements});
  add("llm.layers.0.q_proj.lora_A.weight", {2, 3}, true, {0});
  add("scale", {}, true, {0});
  add("weights.only", {5}, false, {0, 4});
  add("empty", {0, 3}, true, {});
  return out;
}

// By `writers` parts that are open together and write pieces in turn, as ranks do.
inline void save_checkpoint(const std::string& path, const SomeCheckpoint& checkpoint, std::size_t writers = 1) {
  const CheckpointLayout layout(checkpoint.stored(), checkpoint.info);
  const CheckpointLayout elsewhere(checkpoint.stored(), layout.places());
  std::vector<std::unique_ptr<CheckpointPart>> parts;
  try {
    for (std::size_t i = 0; i < writers; ++i) {
      parts.push_back(std::make_unique<CheckpointPart>(i == 0 ? layout : elsewhere, path));
    }
    std::size_t turn = 0;
    for (std::size_t t = 0; t < checkpoint.tensors.size(); ++t) {
      const auto& [stored, arrays] = checkpoint.tensors[t];
      for (int array = 0; array < stored.arrays(); ++array) {
        for (std::size_t piece = 0; piece < stored.begins.size(); ++piece) {
          const float* values = arrays[static_cast<std::size_t>(array)].data() + stored.begins[piece];
          parts[turn++ % writers]->write(t, array, piece, values);
        }
      }
    }
    parts[0]->write_structure(checkpoint.info);  // the order does not matter
    for (const auto& part : parts) part->close();
  } catch (...) {
    discard_checkpoint(path);
    throw;
  }
  commit_checkpoint(path);
}

}  // namespace skymm::testing
