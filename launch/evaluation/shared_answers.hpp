// A model's answers to many prompts, the work shared by the ranks.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
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

// Who is asked: the whole model on each rank, of a run that was opened or of one that trains. Must not outlive it.
struct Answerer {
  Answerer(const TrainConfig& config, const Assembly& assembly);
  Answerer(const Run& run) : Answerer(run.config, run.assembly) {}

  Multimodal& model;
  PromptBuilder prompts;
  ImageSpec images;
  // Called by all ranks together, every 64 questions of a rank; true, on all of them, ends the asking. None: it goes on
  // to the end, and no rank waits for another before that.
  std::function<bool()> stop = {};
};

struct SharedQuestions {
  std::size_t count = 0;
  std::size_t group = 1;                      // neighbours that one rank answers, since they share a picture
  std::function<Sample(std::size_t)> sample;  // of a question: its picture and text; called by the rank that asks it
  int max_tokens = 4;                         // of an answer
  // Where given: what a question may be answered with. The answer is the most likely of these; none is generated.
  std::function<std::vector<std::string>(std::size_t)> candidates = {};
};

// A question that could not be asked: its prompt is too long, say, or its picture cannot be read.
struct Unasked {
  std::size_t question = 0;
  std::string why;  // for people; names what it is about
};

struct SharedAnswers {
  std::vector<std::string> texts;  // in the order of the questions, trimmed; empty of those that were not asked
  std::vector<Unasked> unasked;    // in this order, too
  bool stopped = false;            // by Answerer::stop; there are no texts
};

// The same on every rank; all of them must call this. Greedy. A question that cannot be asked costs no other its
// answer.
SharedAnswers shared_answers(const Answerer& who, Communicator& ranks, const SharedQuestions& questions);

// Warns how many of so many questions were not asked, and why; nothing where all were.
void warn_of_unasked(const std::vector<Unasked>& unasked, std::size_t questions);
// {"count", "first": [{"question", "why"}, ...]}: of a hundred at most.
nlohmann::json figures_of(const std::vector<Unasked>& unasked);

}  // namespace skymm
