#include "launch/generation.hpp"

#include <algorithm>
#include <string_view>
#include <unordered_map>

#include "core/error.hpp"
#include "launch/batches.hpp"

namespace skymm {
namespace {

struct Sequence {
  std::size_t sample = 0;
  std::vector<std::int32_t> tokens;  // prompt, visual slots negative
  std::vector<std::int32_t> answer;
  std::vector<std::int64_t> pictures;  // their numbers in the batch
  bool done = false;
};

// The distinct pictures of a batch: several questions about one picture cost the ViT once.
class Pictures {
 public:
  explicit Pictures(const ImageSpec& spec) : spec_(spec) {}

  std::int64_t add(const Sample& sample, std::size_t image) {
    const auto [entry, is_new] = numbers_.try_emplace(sample.images[image], size());
    if (is_new) {
      try {
        const std::vector<float> one = load_pixels(sample.images[image], spec_);
        pixels_.insert(pixels_.end(), one.begin(), one.end());
      } catch (const Error& error) {
        fail("{}: {}", sample.id, error.message());
      }
    }
    return entry->second;
  }
  std::int64_t size() const { return static_cast<std::int64_t>(numbers_.size()); }
  const std::vector<float>& pixels() const { return pixels_; }

 private:
  ImageSpec spec_;
  std::unordered_map<std::string_view, std::int64_t> numbers_;  // by their bytes
  std::vector<float> pixels_;
};

// The sequences that still go on, as one batch; their visual features by picture number.
struct Assembled {
  MicroBatch host;
  std::vector<std::int32_t> last_rows;
  std::vector<std::int64_t> pictures;
};

Assembled assemble(const std::vector<Sequence>& sequences) {
  Assembled batch;
  batch.host.sequence_offsets.push_back(0);
  for (const Sequence& sequence : sequences) {
    if (sequence.done) continue;
    std::vector<std::int32_t> tokens = sequence.tokens;
    tokens.insert(tokens.end(), sequence.answer.begin(), sequence.answer.end());
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      const auto row = static_cast<std::int32_t>(batch.host.tokens.size());
      if (tokens[i] < 0) batch.host.visual_rows.push_back(row);
      batch.host.tokens.push_back(std::max(tokens[i], 0));
      batch.host.positions.push_back(static_cast<std::int32_t>(i));
      batch.host.row_ids.insert(batch.host.row_ids.end(), {0, static_cast<std::int32_t>(i)});
    }
    const auto end = static_cast<std::int32_t>(batch.host.tokens.size());
    batch.host.sequence_offsets.push_back(end);
    batch.host.max_length = std::max(batch.host.max_length, static_cast<std::int32_t>(tokens.size()));
    batch.last_rows.push_back(end - 1);
    batch.pictures.insert(batch.pictures.end(), sequence.pictures.begin(), sequence.pictures.end());
  }
  return batch;
}

}  // namespace

std::vector<std::string> generate(Multimodal& model, const PromptBuilder& prompts, const ImageSpec& images,
                                  const std::vector<Sample>& samples, const GenerationOptions& options) {
  std::vector<std::string> answers(samples.size());
  for (std::size_t begin = 0; begin < samples.size(); begin += static_cast<std::size_t>(options.batch_size)) {
    const std::size_t end = std::min(samples.size(), begin + static_cast<std::size_t>(options.batch_size));
    std::vector<Sequence> sequences;
    Pictures all(images);
    for (std::size_t i = begin; i < end; ++i) {
      const TokenizedSample prompt = prompts.prompt(samples[i]);
      sequences.push_back({i, prompt.tokens, {}, {}, false});
      for (const int image : prompt.images) {
        sequences.back().pictures.push_back(all.add(samples[i], static_cast<std::size_t>(image)));
      }
    }
    // Features of all pictures, [pictures, visual tokens of the ViT, width], so that each step can take those it needs.
    Tensor features;
    if (const std::int64_t pictures = all.size(); pictures > 0) {
      features = model.features(to_pixels(all.pixels(), images.size, model.dtype()));
      features = features.view({pictures, features.dim(0) / pictures, features.dim(1)});
    }
    for (int step = 0; step < options.max_tokens; ++step) {
      const Assembled assembled = assemble(sequences);
      if (assembled.last_rows.empty()) break;
      Batch batch = to_batch(assembled.host, images.size, model.dtype(), 0, 0, false);
      if (const auto n = static_cast<std::int64_t>(assembled.pictures.size()); n > 0) {
        const Tensor chosen = Tensor::empty({n, features.dim(1), features.dim(2)}, features.dtype());
        for (std::int64_t p = 0; p < n; ++p) {
          const std::int64_t from = assembled.pictures[static_cast<std::size_t>(p)];
          chosen.slice(0, p, p + 1).copy_from(features.slice(0, from, from + 1));
        }
        batch.features = chosen.view({n * features.dim(1), features.dim(2)});
      }
      Graph graph(Graph::Mode::inference);
      const auto n = static_cast<std::int64_t>(assembled.last_rows.size());
      const Tensor logits = model.logits(graph, batch, Tensor::from(assembled.last_rows, {n}));
      const Tensor best = Tensor::empty({n}, DType::i32);
      kernels(logits).argmax(logits, best);
      const std::vector<std::int32_t> next = best.to_vector<std::int32_t>();
      std::size_t at = 0;
      for (Sequence& sequence : sequences) {
        if (sequence.done) continue;
        const std::int32_t token = next[at++];
        sequence.done = token == prompts.stop_token() || token == prompts.tokenizer().eos();
        if (!sequence.done) sequence.answer.push_back(token);
      }
    }
    for (const Sequence& sequence : sequences) {
      answers[sequence.sample] = prompts.tokenizer().decode(sequence.answer, TextPlace::middle);
    }
  }
  return answers;
}

}  // namespace skymm
