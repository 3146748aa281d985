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

using nlohmann::json;

constexpr std::size_t questions_at_once = 64;  // their encoded pictures are in memory together

// A rank's share of the questions.
class Share {
 public:
  Share(const Answerer& who, const SharedQuestions& questions) : who_(who), questions_(questions) {}

  // Where it fails for some of them, each half is asked by itself, down to those that cannot be asked.
  void ask(std::span<const std::size_t> numbers) {
    try {
      for (const std::string& answer : answers_to(numbers)) {
        answers_.push_back(trimmed(answer));  // the chat template may put a space in front
      }
    } catch (const Error& error) {
      if (numbers.size() == 1) {
        answers_.push_back("");
        unasked_.push_back(json::array({numbers.front(), error.message()}));
        return;
      }
      const std::size_t half = numbers.size() / 2;
      ask(numbers.first(half));
      ask(numbers.subspan(half));
    }
  }

  json result() const { return {{"answers", answers_}, {"unasked", unasked_}}; }

 private:
  std::vector<std::string> answers_to(std::span<const std::size_t> numbers) const {
    std::vector<Sample> samples;
    for (const std::size_t number : numbers) samples.push_back(questions_.sample(number));
    try {
      if (questions_.candidates) return most_likely(samples, numbers);
      return generate(who_.model, who_.prompts, who_.images, samples,
                      {.max_tokens = questions_.max_tokens, .batch_size = 32});
    } catch (const Error& error) {
      const std::string& id = samples.front().id;
      if (numbers.size() > 1 || error.message().starts_with(id)) throw;
      fail("{}: {}", id, error.message());
    }
  }

  // numbers: those of the samples among the questions.
  std::vector<std::string> most_likely(const std::vector<Sample>& samples, std::span<const std::size_t> numbers) const {
    std::vector<Choice> choices;
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      choices.push_back({samples[i], questions_.candidates(numbers[i])});
    }
    return most_likely_answers(who_.model, who_.prompts, who_.images, choices);
  }

  const Answerer& who_;
  const SharedQuestions& questions_;
  json answers_ = json::array();
  json unasked_ = json::array();  // pairs of number and reason
};

}  // namespace

std::string_view name_of(AnswerBy by) { return by == AnswerBy::generation ? "generation" : "likelihood"; }

AnswerBy parse_answer_by(std::string_view text) {
  if (text == name_of(AnswerBy::generation)) return AnswerBy::generation;
  if (text == name_of(AnswerBy::likelihood)) return AnswerBy::likelihood;
  fail("'{}' is neither generation nor likelihood", text);
}

Answerer::Answerer(const TrainConfig& config, const Assembly& assembly)
    : model(*assembly.model), prompts(assembly.prompts(config)), images(assembly.images) {}

SharedAnswers shared_answers(const Answerer& who, Communicator& ranks, const SharedQuestions& questions) {
  const auto size = static_cast<std::size_t>(ranks.size());
  const auto rank_of = [&](std::size_t question) { return question / questions.group % size; };
  std::vector<std::vector<std::size_t>> of(size);
  for (std::size_t i = 0; i < questions.count; ++i) of[rank_of(i)].push_back(i);
  const std::span<const std::size_t> mine = of[static_cast<std::size_t>(ranks.rank())];
  const std::size_t most = std::ranges::max(of, {}, &std::vector<std::size_t>::size).size();
  Share share(who, questions);
  for (std::size_t begin = 0; begin < most; begin += questions_at_once) {
    const std::span<const std::size_t> rest = mine.subspan(std::min(begin, mine.size()));
    if (!rest.empty()) share.ask(rest.first(std::min(questions_at_once, rest.size())));
    log::debug("{} of {} questions of this rank are answered", std::min(begin + questions_at_once, mine.size()),
               mine.size());
    if (who.stop && who.stop()) return {.stopped = true};
  }
  SharedAnswers all;
  all.texts.resize(questions.count);
  const std::vector<std::string> results =
      gather_text(ranks, share.result().dump(-1, ' ', false, json::error_handler_t::replace));
  for (std::size_t rank = 0; rank < size; ++rank) {
    const json result = json::parse(results[rank]);
    for (std::size_t i = 0; i < of[rank].size(); ++i) all.texts[of[rank][i]] = result["answers"][i].get<std::string>();
    for (const json& entry : result["unasked"]) {
      all.unasked.push_back({entry[0].get<std::size_t>(), entry[1].get<std::string>()});
    }
  }
  std::ranges::sort(all.unasked, {}, &Unasked::question);
  return all;
}

void warn_of_unasked(const std::vector<Unasked>& unasked, std::size_t questions) {
  constexpr std::size_t shown = 5;
  if (unasked.empty()) return;
  log::warn("{} of {} questions could not be asked, and are scored as if the model had said nothing", unasked.size(),
            questions);
  for (std::size_t i = 0; i < std::min(shown, unasked.size()); ++i) log::warn("not asked: {}", unasked[i].why);
  if (unasked.size() > shown) log::warn("and {} more", unasked.size() - shown);
}

json figures_of(const std::vector<Unasked>& unasked) {
  constexpr std::size_t listed = 100;
  json first = json::array();
  for (std::size_t i = 0; i < std::min(listed, unasked.size()); ++i) {
    first.push_back({{"question", unasked[i].question}, {"why", unasked[i].why}});
  }
  return {{"count", unasked.size()}, {"first", first}};
}

}  // namespace skymm
