// A model's answers to many prompts, the work shared by the ranks.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/communicator.hpp"
#include "io/sample.hpp"
#include "launch/evaluation/run.hpp"

namespace skymm {

struct SharedQuestions {
  std::size_t count = 0;
  std::size_t group = 1;                      // neighbours that one rank answers, since they share a picture
  std::function<Sample(std::size_t)> sample;  // of a question: its picture and text; called by the rank that asks it
  int max_tokens = 4;                         // of an answer
};

// The answers in the order of the questions, trimmed, the same on every rank; all of them must call this. Greedy.
std::vector<std::string> shared_answers(Run& run, Communicator& ranks, const SharedQuestions& questions);

}  // namespace skymm
