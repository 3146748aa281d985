// Greedy answers to prompts, several at a time.
#pragma once

#include <string>
#include <vector>

#include "io/pixels.hpp"
#include "io/prompt.hpp"
#include "ops/models/multimodal.hpp"

namespace skymm {

struct GenerationOptions {
  int max_tokens = 32;  // of an answer
  int batch_size = 32;  // prompts that are answered together
};

// The answer to each sample's last turn. Each distinct picture of a batch goes through the ViT once; each further token
// reads the whole sequence again, which is cheap for short answers. Throws Error for a prompt that is too long, and,
// naming the sample, for a picture that cannot be read.
std::vector<std::string> generate(Multimodal& model, const PromptBuilder& prompts, const ImageSpec& images,
                                  const std::vector<Sample>& samples, const GenerationOptions& options = {});

}  // namespace skymm
