// A model's answers to MME's questions.
#pragma once

#include <vector>

#include "core/communicator.hpp"
#include "launch/evaluation/mme.hpp"
#include "launch/evaluation/run.hpp"
#include "launch/evaluation/shared_answers.hpp"

namespace skymm {

// The results of each task, in the order of its questions, the same on every rank: ranks share the work picture by
// picture, and all of them must call this. Greedy, a few tokens an answer, each question by itself; or the more likely
// of yes and no in the language of the question's truth. Throws Error that names the picture that cannot be read.
std::vector<std::vector<MmeResult>> answer_mme(Run& run, Communicator& ranks, const std::vector<MmeTask>& tasks,
                                               AnswerBy by = AnswerBy::generation);

}  // namespace skymm
