#include "launch/evaluation/choice_answers.hpp"

#include <filesystem>

#include "core/error.hpp"
#include "io/file.hpp"
#include "launch/evaluation/likelihood.hpp"

namespace skymm {
namespace {

std::vector<std::string> letters_of(const MmbenchQuestion& question) {
  std::vector<std::string> letters;
  for (std::size_t i = 0; i < question.options.size(); ++i) letters.emplace_back(1, static_cast<char>('A' + i));
  return letters;
}

}  // namespace

SharedAnswers answer_mmbench(const Answerer& who, Communicator& ranks, const std::vector<MmbenchQuestion>& questions,
                             const ChoiceOptions& options) {
  const auto sample = [&](std::size_t i) {
    Sample out;
    out.id = fmt::format("MMBench row {}", questions[i].index);
    out.images = {questions[i].image};
    out.parts = {image_part(0), text_part(questions[i].prompt + options.after)};
    return out;
  };
  SharedQuestions asked{.count = questions.size(), .sample = sample, .max_tokens = options.max_tokens};
  if (options.by == AnswerBy::likelihood) asked.candidates = [&](std::size_t i) { return letters_of(questions[i]); };
  return shared_answers(who, ranks, asked);
}

std::string pope_pictures(const std::string& data, const LanguageSet& set, const std::string& images) {
  namespace fs = std::filesystem;
  const std::string folder = images.empty() ? data + "/images" : images, inner = folder + "/" + set.language;
  check(
      fs::is_directory(folder),
      "{}: there is no folder {} of POPE's pictures; give it (--images of skymm eval, data.evaluation_images of a run)",
      data, folder);
  return !set.language.empty() && fs::is_directory(inner) ? inner : folder;
}

std::string picture_of(const PopeQuestion& question, const std::string& images) {
  return (std::filesystem::path(images) / question.image).string();
}

SharedAnswers answer_pope(const Answerer& who, Communicator& ranks, const PopeSplit& split, const std::string& images,
                          const ChoiceOptions& options) {
  constexpr std::size_t questions_a_picture = 6;
  const auto sample = [&](std::size_t i) {
    const PopeQuestion& question = split.questions[i];
    Sample out;
    out.id = picture_of(question, images);
    out.images = {read_file(out.id)};
    out.parts = {image_part(0), text_part(question.text + options.after)};
    return out;
  };
  SharedQuestions asked{.count = split.questions.size(),
                        .group = questions_a_picture,
                        .sample = sample,
                        .max_tokens = options.max_tokens};
  if (options.by == AnswerBy::likelihood) {
    const Language language = split.rule == PopeRule::chinese ? Language::chinese : Language::english;
    asked.candidates = [language](std::size_t) { return yes_no_candidates(language); };
  }
  return shared_answers(who, ranks, asked);
}

}  // namespace skymm
