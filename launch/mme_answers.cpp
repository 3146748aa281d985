#include "launch/mme_answers.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "core/log.hpp"
#include "io/file.hpp"
#include "launch/generation.hpp"
#include "launch/options.hpp"
#include "parallel/gather_text.hpp"

namespace skymm {
namespace {

// Yes, no or their Chinese words are one or two tokens; MME's rule reads four characters.
constexpr int answer_tokens = 4;
constexpr std::size_t questions_at_once = 64;  // their encoded pictures are in memory together

// This rank's pictures are those whose number, over all tasks, is its own rank modulo the ranks.
std::vector<const MmeQuestion*> share_of(const std::vector<MmeTask>& tasks, int rank, int ranks) {
  std::vector<const MmeQuestion*> mine;
  std::size_t number = 0;
  for (const MmeTask& task : tasks) {
    for (const MmeQuestion& question : task.questions) {
      if (number++ / 2 % static_cast<std::size_t>(ranks) == static_cast<std::size_t>(rank)) mine.push_back(&question);
    }
  }
  return mine;
}

Sample sample_of(const MmeQuestion& question) {
  Sample sample;
  sample.id = question.path;
  sample.images = {read_file(question.path)};
  sample.parts = {image_part(0), text_part(question.question)};
  return sample;
}

}  // namespace

std::vector<std::vector<MmeResult>> answer_mme(Run& run, Communicator& ranks, const std::vector<MmeTask>& tasks) {
  const PromptBuilder prompts = run.assembly.prompts(run.config);
  const std::vector<const MmeQuestion*> mine = share_of(tasks, ranks.rank(), ranks.size());
  nlohmann::json answers = nlohmann::json::array();
  for (std::size_t begin = 0; begin < mine.size(); begin += questions_at_once) {
    const std::size_t end = std::min(mine.size(), begin + questions_at_once);
    std::vector<Sample> samples;
    for (std::size_t i = begin; i < end; ++i) samples.push_back(sample_of(*mine[i]));
    for (const std::string& answer : generate(*run.assembly.model, prompts, run.assembly.images, samples,
                                              {.max_tokens = answer_tokens, .batch_size = 32})) {
      answers.push_back(trimmed(answer));  // the chat template may put a space in front
    }
    log::debug("{} of {} questions of this rank are answered", end, mine.size());
  }
  std::vector<nlohmann::json> of_rank;
  for (const std::string& text : gather_text(ranks, answers.dump())) of_rank.push_back(nlohmann::json::parse(text));
  std::vector<std::size_t> next(of_rank.size(), 0);
  std::vector<std::vector<MmeResult>> results;
  std::size_t number = 0;
  for (const MmeTask& task : tasks) {
    results.emplace_back();
    for (const MmeQuestion& question : task.questions) {
      const std::size_t rank = number++ / 2 % of_rank.size();
      results.back().push_back(
          {question.picture, question.question, question.truth, of_rank[rank].at(next[rank]++).get<std::string>()});
    }
  }
  return results;
}

}  // namespace skymm
