// Weights for the model of a run: of pretrained models, whose architecture comes with them, and of plain files.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/parameter.hpp"
#include "io/weights/source.hpp"
#include "launch/assembly/hugging_face.hpp"
#include "launch/assembly/weight_file.hpp"
#include "launch/config/config.hpp"

namespace skymm {

// Where a weight of the model lies: rows [begin, end) of `tensor`, or all where `end` is -1. OpenCLIP, for one, keeps
// q, k and v in one matrix.
struct WeightPlace {
  std::string tensor;
  std::int64_t begin = 0, end = -1;
};

// A pretrained part of the model: our names and where their values are, plain or in few bits.
struct PretrainedPart {
  std::shared_ptr<const WeightSource> source;
  std::map<std::string, WeightPlace> places;
};

// Throw Error that lists, by name and with what was expected, every tensor that is missing, that is of another shape,
// or that the model has no place for.
PretrainedPart bind_decoder(const DecoderConfig& config, std::shared_ptr<const WeightSource> source);
PretrainedPart bind_vision(const VisionDescription& vision, std::shared_ptr<const WeightSource> source);

// What model.decoder and model.vision name: presets, which have no weights, or pretrained models.
struct Pretrained {
  DecoderConfig decoder;
  std::optional<VisionConfig> vision;
  ImageSpec images;
  std::vector<PretrainedPart> parts;
};

// vocabulary: of the tokenizer; a preset takes it as its own, a pretrained decoder must have as many tokens.
Pretrained open_pretrained(const TrainConfig& config, std::int64_t vocabulary);

// Fills parameters: each from the last of `files` that has it, else from the pretrained parts; else, where it trains,
// at random.
class WeightLoader {
 public:
  // files: as open_weight_files takes them.
  WeightLoader(std::vector<PretrainedPart> parts, const std::vector<std::string>& files, std::uint64_t seed);

  // Throws Error that lists the frozen ones that are in no file.
  void check_has(const std::vector<NamedParameter>& parameters) const;
  void load(const NamedParameter& entry) const;
  bool has_lora() const;  // one of the files
  const std::vector<WeightFile>& files() const { return files_; }

 private:
  const PretrainedPart* part_with(const std::string& name) const;
  void check_resampler(const std::vector<NamedParameter>& parameters) const;

  std::vector<PretrainedPart> parts_;
  std::vector<WeightFile> files_;
  std::uint64_t seed_;
};

}  // namespace skymm
