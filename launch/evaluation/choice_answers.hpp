// A model's answers to the questions of MMBench and POPE.
#pragma once

#include <string>
#include <vector>

#include "core/communicator.hpp"
#include "launch/evaluation/mmbench.hpp"
#include "launch/evaluation/pope.hpp"
#include "launch/evaluation/shared_answers.hpp"

namespace skymm {

// Of MMBench and POPE; MME's are shorter.
inline constexpr int choice_tokens = 16;

// Question i is asked by rank i % ranks.size(), which must have its picture. after: put behind each question.
SharedAnswers answer_mmbench(const Answerer& who, Communicator& ranks, const std::vector<MmbenchQuestion>& questions,
                             const std::string& after = "", int max_tokens = choice_tokens);

// images: the folder of the pictures.
SharedAnswers answer_pope(const Answerer& who, Communicator& ranks, const PopeSplit& split, const std::string& images,
                          const std::string& after = "");

}  // namespace skymm
