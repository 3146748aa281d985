#include "launch/evaluation/generation.hpp"

#include <algorithm>
#include <string_view>

#include "core/error.hpp"
#include "core/progress.hpp"
#include "launch/assembly/batches.hpp"
#include "launch/evaluation/answer_text.hpp"
#include "launch/evaluation/pictures.hpp"

namespace skymm {
namespace {

struct Sequence {
  std::size_t sample = 0;
  std::vector<std::int32_t> prompt;    // visual slots negative
  std::vector<std::int64_t> pictures;  // their numbers in the batch
  AnswerText text;
  std::vector<std::int32_t> answer = {};
  bool done = false;
};

// Prompts that are answered together: read once, then a token of each at a time.
class Answering {
 public:
  Answering(Multimodal& model, const PromptBuilder& prompts, const ImageSpec& images, const GenerationOptions& options)
      : model_(model), prompts_(prompts), images_(images), options_(options), pictures_(images) {}

  void add(std::size_t number, const Sample& sample) {
    const TokenizedSample prompt = prompts_.prompt(sample);
    const std::int64_t window = model_.config().decoder.window,
                       longest = std::ssize(prompt.tokens) + options_.max_tokens;
    check(window == 0 || longest <= window,
          "{}: a prompt of {} tokens and {} of an answer are more than the {} of the model's sliding window, past "
          "which it "
          "is not computed; ask for a shorter answer",
          sample.id, prompt.tokens.size(), options_.max_tokens, window);
    sequences_.push_back({number, prompt.tokens, {}, AnswerText(prompts_.tokenizer(), options_.stops)});
    for (const int image : prompt.images) {
      sequences_.back().pictures.push_back(pictures_.add(sample, static_cast<std::size_t>(image)));
    }
  }

  std::vector<Sequence>& run() {
    KeyValueCache cache = make_cache();
    Tensor features = picture_features();
    for (int step = 0; step < options_.max_tokens && !all_done(); ++step) {
      take(next_tokens(cache, features, step), step);
      made_progress();
      features = Tensor();  // read with the prompts
    }
    return sequences_;
  }

 private:
  bool all_done() const {
    return std::ranges::all_of(sequences_, [](const Sequence& s) { return s.done; });
  }

  KeyValueCache make_cache() const {
    const DecoderConfig& decoder = model_.config().decoder;
    std::vector<std::int64_t> capacities;
    for (const Sequence& s : sequences_) {
      capacities.push_back(static_cast<std::int64_t>(s.prompt.size()) + options_.max_tokens);
    }
    return {decoder.layers,
            {decoder.heads, decoder.kv_heads, decoder.head_width},
            std::move(capacities),
            model_.dtype(),
            model_.device()};
  }

  // Of every prompt's pictures, prompt by prompt.
  Tensor picture_features() const {
    std::vector<std::int64_t> shown;
    for (const Sequence& sequence : sequences_)
      shown.insert(shown.end(), sequence.pictures.begin(), sequence.pictures.end());
    return pictures_.features(model_, shown);
  }

  // The tokens that the cache does not have yet, of the sequences that go on.
  MicroBatch pending(std::vector<std::int64_t>& counts) const {
    MicroBatch host;
    host.sequence_offsets.push_back(0);
    for (const Sequence& sequence : sequences_) {
      counts.push_back(0);
      if (sequence.done) continue;
      const std::vector<std::int32_t> last(sequence.answer.end() - (sequence.answer.empty() ? 0 : 1),
                                           sequence.answer.end());
      for (const std::int32_t token : sequence.answer.empty() ? sequence.prompt : last) {
        if (token < 0) host.visual_rows.push_back(static_cast<std::int32_t>(host.tokens.size()));
        host.tokens.push_back(std::max(token, 0));
        ++counts.back();
      }
      host.sequence_offsets.push_back(static_cast<std::int32_t>(host.tokens.size()));
    }
    host.row_ids.resize(2 * host.tokens.size());  // of dropout, which there is none of
    return host;
  }

  // Of the sequences that go on.
  std::vector<std::int32_t> next_tokens(KeyValueCache& cache, const Tensor& features, int step) const {
    std::vector<std::int64_t> counts;
    const MicroBatch host = pending(counts);
    cache.extend(counts);
    Batch batch = to_batch(host, images_.size, model_.dtype(), 0, 0, false).to(model_.device());
    batch.positions = cache.positions();
    batch.features = features;
    batch.cache = &cache;
    const auto live = static_cast<std::int64_t>(host.sequence_offsets.size()) - 1;
    std::vector<std::int32_t> rows;
    for (std::int64_t i = 1; i <= live; ++i) rows.push_back(host.sequence_offsets[static_cast<std::size_t>(i)] - 1);
    Graph graph(Graph::Mode::inference);
    const Tensor logits = model_.logits(graph, batch, Tensor::from(rows, {live}, model_.device()));
    return options_.sampling.is_argmax() ? largest(logits) : drawn(logits, step);
  }

  static std::vector<std::int32_t> largest(const Tensor& logits) {
    const Tensor best = Tensor::empty({logits.dim(0)}, DType::i32, logits.device());
    kernels(logits).argmax(logits, best);
    return best.to_vector<std::int32_t>();
  }

  std::vector<std::int32_t> drawn(const Tensor& logits, int step) const {
    std::vector<float> values = logits.to_vector();
    const auto width = static_cast<std::size_t>(logits.dim(1));
    std::vector<std::int32_t> tokens;
    for (const Sequence& sequence : sequences_) {
      if (sequence.done) continue;
      std::vector<std::int32_t> history = sequence.prompt;
      history.insert(history.end(), sequence.answer.begin(), sequence.answer.end());
      tokens.push_back(next_token(std::span(values).subspan(tokens.size() * width, width), history, options_.sampling,
                                  static_cast<std::uint32_t>(sequence.sample), static_cast<std::uint32_t>(step)));
    }
    return tokens;
  }

  void take(const std::vector<std::int32_t>& tokens, int step) {
    std::size_t at = 0;
    for (Sequence& sequence : sequences_) {
      if (sequence.done) continue;
      const std::int32_t token = tokens[at++];
      sequence.done = token == prompts_.stop_token() || token == prompts_.tokenizer().eos();
      if (!sequence.done) sequence.answer.push_back(token);
      const bool last = sequence.done || step + 1 == options_.max_tokens;
      tell(sequence, last ? sequence.text.finish(sequence.answer) : sequence.text.update(sequence.answer));
      sequence.done = last || sequence.text.is_stopped();
    }
  }

  void tell(const Sequence& sequence, const std::string& text) const {
    if (options_.on_text && !text.empty()) options_.on_text(sequence.sample, text);
  }

  Multimodal& model_;
  const PromptBuilder& prompts_;
  ImageSpec images_;
  const GenerationOptions& options_;
  Pictures pictures_;
  std::vector<Sequence> sequences_;
};

}  // namespace

std::vector<std::string> generate(Multimodal& model, const PromptBuilder& prompts, const ImageSpec& images,
                                  const std::vector<Sample>& samples, const GenerationOptions& options) {
  check_sampling(options.sampling);
  std::vector<std::string> answers(samples.size());
  const auto together = static_cast<std::size_t>(options.batch_size);
  for (std::size_t begin = 0; begin < samples.size(); begin += together) {
    Answering answering(model, prompts, images, options);
    for (std::size_t i = begin; i < std::min(samples.size(), begin + together); ++i) answering.add(i, samples[i]);
    for (const Sequence& sequence : answering.run()) answers[sequence.sample] = sequence.text.text();
  }
  return answers;
}

}  // namespace skymm
