// A model's answers to MME's questions.
#pragma once

#include <vector>

#include "core/communicator.hpp"
#include "launch/evaluation/mme.hpp"
#include "launch/evaluation/shared_answers.hpp"

namespace skymm {

struct MmeAnswers {
  std::vector<std::vector<MmeResult>> results;  // of each task, in the order of its questions
  std::vector<Unasked> unasked;                 // numbered through all tasks
  bool stopped = false;                         // by Answerer::stop; there are no results
};

// The same on every rank: ranks share the work picture by picture, and all of them must call this. Greedy, a few tokens
// an answer, each question by itself; or the more likely of yes and no in the language of the question's truth.
MmeAnswers answer_mme(const Answerer& who, Communicator& ranks, const std::vector<MmeTask>& tasks,
                      AnswerBy by = AnswerBy::generation);

}  // namespace skymm
