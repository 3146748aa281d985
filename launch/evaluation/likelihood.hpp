// The most likely of given answers: a choice that needs no generation, and that a model makes even where it would say
// something else altogether. Its figures do not compare with those of generated answers.
#pragma once

#include <string>
#include <vector>

#include "io/pixels.hpp"
#include "io/prompt.hpp"
#include "ops/models/multimodal.hpp"

namespace skymm {

// What a sample's last turn may be answered with.
struct Choice {
  Sample sample;
  std::vector<std::string> candidates;
};

// Of each candidate of each choice: the natural logarithm of how likely its tokens are after the prompt, summed over
// them. They are the tokens that training makes of such an answer, without its end mark: a model may go on after "Yes".
// Each distinct picture of a batch goes through the ViT once, and what candidates share is read once. Throws Error that
// names the sample where a prompt is too long, a candidate is empty, or a picture cannot be read.
std::vector<std::vector<double>> answer_likelihoods(Multimodal& model, const PromptBuilder& prompts,
                                                    const ImageSpec& images, const std::vector<Choice>& choices,
                                                    int batch_size = 32);

// The candidate of the highest likelihood, the first of equals; of each choice.
std::vector<std::string> most_likely_answers(Multimodal& model, const PromptBuilder& prompts, const ImageSpec& images,
                                             const std::vector<Choice>& choices, int batch_size = 32);

// How yes and no are spelt: 是 and 否, or both words with a capital and without. A model has learnt one spelling of a
// word, and the other's likelihood says nothing.
std::vector<std::string> yes_no_candidates(Language language);

}  // namespace skymm
