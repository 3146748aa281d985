#include "launch/evaluation/shared_answers.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>

#include "core/error.hpp"
#include "core/log.hpp"
#include "launch/config/options.hpp"
#include "launch/evaluation/generation.hpp"
#include "launch/evaluation/likelihood.hpp"
#include "parallel/gather_text.hpp"

namespace skymm {
namespace {

constexpr std::size_t questions_at_once = 64;  // their encoded pictures are in memory together

// numbers: those of the samples among the questions.
std::vector<std::string> chosen_answers(Run& run, const PromptBuilder& prompts, const SharedQuestions& questions,
                                        const std::vector<Sample>& samples, std::span<const std::size_t> numbers) {
  std::vector<Choice> choices;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    choices.push_back({samples[i], questions.candidates(numbers[i])});
  }
  return most_likely_answers(*run.assembly.model, prompts, run.assembly.images, choices);
}

}  // namespace

std::string_view name_of(AnswerBy by) { return by == AnswerBy::generation ? "generation" : "likelihood"; }

AnswerBy parse_answer_by(std::string_view text) {
  if (text == name_of(AnswerBy::generation)) return AnswerBy::generation;
  if (text == name_of(AnswerBy::likelihood)) return AnswerBy::likelihood;
  fail("'{}' is neither generation nor likelihood", text);
}

std::vector<std::string> shared_answers(Run& run, Communicator& ranks, const SharedQuestions& questions) {
  const PromptBuilder prompts = run.assembly.prompts(run.config);
  const auto size = static_cast<std::size_t>(ranks.size());
  const auto rank_of = [&](std::size_t question) { return question / questions.group % size; };
  std::vector<std::size_t> mine;
  for (std::size_t i = 0; i < questions.count; ++i) {
    if (rank_of(i) == static_cast<std::size_t>(ranks.rank())) mine.push_back(i);
  }
  nlohmann::json answers = nlohmann::json::array();
  for (std::size_t begin = 0; begin < mine.size(); begin += questions_at_once) {
    const std::size_t end = std::min(mine.size(), begin + questions_at_once);
    std::vector<Sample> samples;
    for (std::size_t i = begin; i < end; ++i) samples.push_back(questions.sample(mine[i]));
    const std::vector<std::string> some =
        questions.candidates
            ? chosen_answers(run, prompts, questions, samples, std::span(mine).subspan(begin, end - begin))
            : generate(*run.assembly.model, prompts, run.assembly.images, samples,
                       {.max_tokens = questions.max_tokens, .batch_size = 32});
    for (const std::string& answer : some) {
      answers.push_back(trimmed(answer));  // the chat template may put a space in front
    }
    log::debug("{} of {} questions of this rank are answered", end, mine.size());
  }
  std::vector<nlohmann::json> of_rank;
  for (const std::string& text : gather_text(ranks, answers.dump())) of_rank.push_back(nlohmann::json::parse(text));
  std::vector<std::size_t> next(size, 0);
  std::vector<std::string> all;
  for (std::size_t i = 0; i < questions.count; ++i) {
    const std::size_t rank = rank_of(i);
    all.push_back(of_rank[rank].at(next[rank]++).get<std::string>());
  }
  return all;
}

}  // namespace skymm
