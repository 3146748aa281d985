// A model's answers to the questions of MMBench and POPE.
#pragma once

#include <string>
#include <vector>

#include "core/communicator.hpp"
#include "launch/evaluation/language.hpp"
#include "launch/evaluation/mmbench.hpp"
#include "launch/evaluation/pope.hpp"
#include "launch/evaluation/shared_answers.hpp"

namespace skymm {

struct ChoiceOptions {
  std::string after = {};  // put behind each question
  int max_tokens = 16;     // of an answer that is generated; MME's are shorter
  AnswerBy by = AnswerBy::generation;
};

// Question i is asked by rank i % ranks.size(), which must have its picture. By likelihood: the letter of an option.
SharedAnswers answer_mmbench(const Answerer& who, Communicator& ranks, const std::vector<MmbenchQuestion>& questions,
                             const ChoiceOptions& options = {});

// images: the folder of the pictures. By likelihood: yes or no in the language of the split's rule.
SharedAnswers answer_pope(const Answerer& who, Communicator& ranks, const PopeSplit& split, const std::string& images,
                          const ChoiceOptions& options = {});
// The folder of a set's pictures, where the whole lies in `data`: `images`, or if that is empty data/images; of it en
// or zh, where the set has one of its own. Throws Error where there is none.
std::string pope_pictures(const std::string& data, const LanguageSet& set, const std::string& images);
// Where the picture of a question is.
std::string picture_of(const PopeQuestion& question, const std::string& images);

}  // namespace skymm
