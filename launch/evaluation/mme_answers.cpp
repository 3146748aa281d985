#include "launch/evaluation/mme_answers.hpp"

#include <utility>

#include "io/file.hpp"
#include "launch/evaluation/likelihood.hpp"

namespace skymm {
namespace {

// Yes, no or their Chinese words are one or two tokens; MME's rule reads four characters.
constexpr int answer_tokens = 4;

Sample sample_of(const MmeQuestion& question) {
  Sample sample;
  sample.id = question.path;
  sample.images = {read_file(question.path)};
  sample.parts = {image_part(0), text_part(question.question)};
  return sample;
}

Language language_of(const MmeQuestion& question) {
  return question.truth == "是" || question.truth == "否" ? Language::chinese : Language::english;
}

}  // namespace

MmeAnswers answer_mme(const Answerer& who, Communicator& ranks, const std::vector<MmeTask>& tasks, AnswerBy by) {
  std::vector<const MmeQuestion*> all;
  for (const MmeTask& task : tasks) {
    for (const MmeQuestion& question : task.questions) all.push_back(&question);
  }
  SharedQuestions questions{.count = all.size(),
                            .group = 2,
                            .sample = [&](std::size_t i) { return sample_of(*all[i]); },
                            .max_tokens = answer_tokens};
  if (by == AnswerBy::likelihood) {
    questions.candidates = [&](std::size_t i) { return yes_no_candidates(language_of(*all[i])); };
  }
  SharedAnswers shared = shared_answers(who, ranks, questions);
  if (shared.stopped) return {.stopped = true};
  MmeAnswers answers{.unasked = std::move(shared.unasked)};
  auto text = shared.texts.begin();
  for (const MmeTask& task : tasks) {
    answers.results.emplace_back();
    for (const MmeQuestion& question : task.questions) {
      answers.results.back().push_back({question.picture, question.question, question.truth, std::move(*text++)});
    }
  }
  return answers;
}

}  // namespace skymm
