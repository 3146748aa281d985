// A model's answers to MME's questions.
#pragma once

#include <vector>

#include "core/communicator.hpp"
#include "launch/evaluation/mme.hpp"
#include "launch/evaluation/run.hpp"

namespace skymm {

// The results of each task, in the order of its questions, the same on every rank: ranks share the work picture by
// picture, and all of them must call this. Greedy, a few tokens an answer, each question by itself. Throws Error that
// names the picture that cannot be read.
std::vector<std::vector<MmeResult>> answer_mme(Run& run, Communicator& ranks, const std::vector<MmeTask>& tasks);

}  // namespace skymm
