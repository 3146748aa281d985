#include "launch/evaluation/likelihood.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "launch/assembly/batches.hpp"
#include "launch/evaluation/pictures.hpp"

namespace skymm {
namespace {

using Tokens = std::vector<std::int32_t>;

// A candidate's tokens are what the rows [first, first + labels) of a sequence predict.
struct Candidate {
  std::size_t choice = 0, place = 0;  // among the candidates of the choice
  std::size_t sequence = 0, first = 0;
  Tokens labels;
};

bool begins_with(const Tokens& text, const Tokens& start) {
  return start.size() <= text.size() && std::equal(start.begin(), start.end(), text.begin());
}

// Choices that go through the model in one pass.
class Pass {
 public:
  Pass(Multimodal& model, const PromptBuilder& prompts, const ImageSpec& images)
      : model_(model), prompts_(prompts), images_(images), pictures_(images) {}

  void add(std::size_t number, const Choice& choice) {
    const std::size_t own = sequences_.size();  // candidates share sequences with those of the same choice alone
    for (std::size_t place = 0; place < choice.candidates.size(); ++place) {
      const TokenizedSample answered = tokenize(choice.sample, choice.candidates[place]);
      const Tokens &tokens = answered.tokens, &labels = answered.labels;
      // The last labels are the answer's, and the very last of them its end mark.
      std::size_t end = labels.size() - 1;
      while (labels[end] < 0) --end;
      std::size_t first = end;
      while (first > 0 && labels[first - 1] >= 0) --first;
      const auto range = [](const Tokens& of, std::size_t from, std::size_t to) {
        return Tokens(of.begin() + static_cast<std::ptrdiff_t>(from), of.begin() + static_cast<std::ptrdiff_t>(to));
      };
      const std::size_t sequence = sequence_of(own, range(tokens, 0, end), choice.sample, answered.images);
      candidates_.push_back({number, place, sequence, first, range(labels, first, end)});
    }
  }

  void run(std::vector<std::vector<double>>& likelihoods) {
    const MicroBatch host = micro_batch();
    Batch batch = to_batch(host, images_.size, model_.dtype(), 0, 0, false).to(model_.device());
    std::vector<std::int64_t> shown;
    for (const Sequence& sequence : sequences_)
      shown.insert(shown.end(), sequence.pictures.begin(), sequence.pictures.end());
    batch.features = pictures_.features(model_, shown);
    Tokens rows, labels;
    for (const Candidate& candidate : candidates_) {
      const auto start = static_cast<std::size_t>(host.sequence_offsets[candidate.sequence]) + candidate.first;
      for (std::size_t i = 0; i < candidate.labels.size(); ++i) rows.push_back(static_cast<std::int32_t>(start + i));
      labels.insert(labels.end(), candidate.labels.begin(), candidate.labels.end());
    }
    const auto count = static_cast<std::int64_t>(rows.size());
    Graph graph(Graph::Mode::inference);
    const Tensor logits = model_.logits(graph, batch, Tensor::from(rows, {count}, model_.device()));
    const Tensor losses = Tensor::empty({count}, DType::f32, logits.device()),
                 logsumexp = Tensor::empty({count}, DType::f32, logits.device());
    kernels(logits).cross_entropy(logits, Tensor::from(labels, {count}, logits.device()), losses, logsumexp);
    const std::vector<float> values = losses.to_vector();
    auto value = values.begin();
    for (const Candidate& candidate : candidates_) {
      double& sum = likelihoods[candidate.choice][candidate.place];
      for (std::size_t i = 0; i < candidate.labels.size(); ++i) sum -= *value++;
    }
  }

 private:
  struct Sequence {
    Tokens tokens;                       // visual slots negative
    std::vector<std::int64_t> pictures;  // their numbers
  };

  TokenizedSample tokenize(Sample sample, const std::string& candidate) const {
    sample.parts.push_back(answer_part(candidate));
    TokenizedSample tokenized = prompts_.tokenize(sample);
    check(tokenized.skip == Skip::none, "{}: '{}' cannot be scored as an answer: {}", sample.id, candidate,
          tokenized.detail);
    check(!tokenized.answer_cut && tokenized.turns_cut == 0,
          "{}: a prompt and its answer have more tokens than the limit of {}; shorten it", sample.id,
          prompts_.options().max_tokens);
    const std::int64_t window = model_.config().decoder.window;
    check(window == 0 || std::ssize(tokenized.tokens) <= window,
          "{}: {} tokens are more than the {} of the model's sliding window, past which it is not computed", sample.id,
          tokenized.tokens.size(), window);
    return tokenized;
  }

  // The one of [own, ...) that begins with `tokens`, which is made where there is none. A row depends on those before
  // it alone, so that what continues another sequence can stand for it.
  std::size_t sequence_of(std::size_t own, const Tokens& tokens, const Sample& sample, const std::vector<int>& images) {
    for (std::size_t i = own; i < sequences_.size(); ++i) {
      if (begins_with(tokens, sequences_[i].tokens)) sequences_[i].tokens = tokens;
      if (begins_with(sequences_[i].tokens, tokens)) return i;
    }
    sequences_.push_back({tokens, {}});
    for (const int image : images) {
      sequences_.back().pictures.push_back(pictures_.add(sample, static_cast<std::size_t>(image)));
    }
    return sequences_.size() - 1;
  }

  MicroBatch micro_batch() const {
    MicroBatch host;
    host.sequence_offsets.push_back(0);
    for (const Sequence& sequence : sequences_) {
      for (std::size_t i = 0; i < sequence.tokens.size(); ++i) {
        if (sequence.tokens[i] < 0) host.visual_rows.push_back(static_cast<std::int32_t>(host.tokens.size()));
        host.tokens.push_back(std::max(sequence.tokens[i], 0));
        host.positions.push_back(static_cast<std::int32_t>(i));
      }
      host.sequence_offsets.push_back(static_cast<std::int32_t>(host.tokens.size()));
      host.max_length = std::max(host.max_length, static_cast<std::int32_t>(sequence.tokens.size()));
    }
    host.row_ids.resize(2 * host.tokens.size());  // of dropout, which there is none of
    return host;
  }

  Multimodal& model_;
  const PromptBuilder& prompts_;
  ImageSpec images_;
  Pictures pictures_;
  std::vector<Sequence> sequences_;
  std::vector<Candidate> candidates_;
};

}  // namespace

std::vector<std::vector<double>> answer_likelihoods(Multimodal& model, const PromptBuilder& prompts,
                                                    const ImageSpec& images, const std::vector<Choice>& choices,
                                                    int batch_size) {
  std::vector<std::vector<double>> likelihoods;
  for (const Choice& choice : choices) likelihoods.emplace_back(choice.candidates.size(), 0.0);
  const auto together = static_cast<std::size_t>(batch_size);
  for (std::size_t begin = 0; begin < choices.size(); begin += together) {
    Pass pass(model, prompts, images);
    for (std::size_t i = begin; i < std::min(choices.size(), begin + together); ++i) pass.add(i, choices[i]);
    pass.run(likelihoods);
  }
  return likelihoods;
}

std::vector<std::string> most_likely_answers(Multimodal& model, const PromptBuilder& prompts, const ImageSpec& images,
                                             const std::vector<Choice>& choices, int batch_size) {
  const auto likelihoods = answer_likelihoods(model, prompts, images, choices, batch_size);
  std::vector<std::string> answers;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const auto best = std::ranges::max_element(likelihoods[i]) - likelihoods[i].begin();
    answers.push_back(choices[i].candidates.at(static_cast<std::size_t>(best)));
  }
  return answers;
}

std::vector<std::string> yes_no_candidates(Language language) {
  if (language == Language::chinese) return {"是", "否"};
  return {"Yes", "No", "yes", "no"};
}

}  // namespace skymm
