// Answers to prompts, several at a time, with a cache of keys and values: each token goes through the model once.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "io/pixels.hpp"
#include "io/prompt.hpp"
#include "launch/evaluation/sampling.hpp"
#include "ops/models/multimodal.hpp"

namespace skymm {

struct GenerationOptions {
  int max_tokens = 32;               // of an answer
  int batch_size = 32;               // prompts that are answered together
  SamplingOptions sampling = {};     // greedy unless given
  std::vector<std::string> stops{};  // texts that end an answer and are left out of it, besides the template's mark
  // Called with each piece of an answer as it comes, whole characters only; the pieces of a sample are its answer.
  std::function<void(std::size_t sample, std::string_view text)> on_text{};
};

// The answer to each sample's last turn. Each distinct picture of a batch goes through the ViT once. Throws Error for a
// prompt that is too long, for an option out of range, and, naming the sample, for a picture that cannot be read.
std::vector<std::string> generate(Multimodal& model, const PromptBuilder& prompts, const ImageSpec& images,
                                  const std::vector<Sample>& samples, const GenerationOptions& options = {});

}  // namespace skymm
