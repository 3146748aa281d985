#include "launch/evaluation/choice_answers.hpp"

#include <filesystem>

#include "io/file.hpp"

namespace skymm {

SharedAnswers answer_mmbench(const Answerer& who, Communicator& ranks, const std::vector<MmbenchQuestion>& questions,
                             const std::string& after, int max_tokens) {
  const auto sample = [&](std::size_t i) {
    Sample out;
    out.id = fmt::format("MMBench row {}", questions[i].index);
    out.images = {questions[i].image};
    out.parts = {image_part(0), text_part(questions[i].prompt + after)};
    return out;
  };
  return shared_answers(who, ranks, {.count = questions.size(), .sample = sample, .max_tokens = max_tokens});
}

SharedAnswers answer_pope(const Answerer& who, Communicator& ranks, const PopeSplit& split, const std::string& images,
                          const std::string& after) {
  constexpr std::size_t questions_a_picture = 6;
  const auto sample = [&](std::size_t i) {
    const PopeQuestion& question = split.questions[i];
    Sample out;
    out.id = (std::filesystem::path(images) / question.image).string();
    out.images = {read_file(out.id)};
    out.parts = {image_part(0), text_part(question.text + after)};
    return out;
  };
  return shared_answers(
      who, ranks,
      {.count = split.questions.size(), .group = questions_a_picture, .sample = sample, .max_tokens = choice_tokens});
}

}  // namespace skymm
