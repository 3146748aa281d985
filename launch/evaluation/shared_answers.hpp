// A model's answers to many prompts, the work shared by the ranks.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/communicator.hpp"
#include "io/sample.hpp"
#include "launch/evaluation/run.hpp"

namespace skymm {

// Where an answer comes from.
enum class AnswerBy : std::uint8_t {
  generation,
  likelihood  // it is the most likely of a few; such figures do not compare with those of generated answers
};
std::string_view name_of(AnswerBy by);
AnswerBy parse_answer_by(std::string_view text);  // throws Error on what is none of their names

struct SharedQuestions {
  std::size_t count = 0;
  std::size_t group = 1;                      // neighbours that one rank answers, since they share a picture
  std::function<Sample(std::size_t)> sample;  // of a question: its picture and text; called by the rank that asks it
  int max_tokens = 4;                         // of an answer
  // Where given: what a question may be answered with. The answer is the most likely of these; none is generated.
  std::function<std::vector<std::string>(std::size_t)> candidates = {};
};

// The answers in the order of the questions, trimmed, the same on every rank; all of them must call this. Greedy.
std::vector<std::string> shared_answers(Run& run, Communicator& ranks, const SharedQuestions& questions);

}  // namespace skymm
