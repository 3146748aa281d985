#include "launch/evaluation/answer_accuracy.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "io/picturebook/picturebook.hpp"
#include "launch/assembly/batches.hpp"

namespace skymm {
namespace {

bool is_yes_no(const std::string& answer) {
  return answer == "yes" || answer == "no" || answer == "是" || answer == "否";
}

// The labelled rows of a sample fall into runs, one an answer: its tokens and the end mark.
std::vector<std::pair<std::size_t, std::size_t>> answer_runs(const TokenizedSample& sample) {
  std::vector<std::pair<std::size_t, std::size_t>> runs;
  for (std::size_t i = 0; i < sample.labels.size(); ++i) {
    if (sample.labels[i] < 0) continue;
    if (i == 0 || sample.labels[i - 1] < 0) runs.emplace_back(i, i);
    runs.back().second = i + 1;
  }
  return runs;
}

void append(MicroBatch& batch, const TokenizedSample& sample) {
  for (std::size_t i = 0; i < sample.tokens.size(); ++i) {
    const auto row = static_cast<std::int32_t>(batch.tokens.size());
    if (sample.tokens[i] < 0) batch.visual_rows.push_back(row);
    if (sample.labels[i] >= 0) batch.label_rows.push_back(row), batch.label_ids.push_back(sample.labels[i]);
    batch.tokens.push_back(std::max(sample.tokens[i], 0));
    batch.positions.push_back(static_cast<std::int32_t>(i));
    batch.row_ids.insert(batch.row_ids.end(), {0, static_cast<std::int32_t>(i)});
  }
  batch.sequence_offsets.push_back(static_cast<std::int32_t>(batch.tokens.size()));
  batch.max_length = std::max(batch.max_length, static_cast<std::int32_t>(sample.tokens.size()));
}

}  // namespace

AnswerTable answer_accuracy(Multimodal& model, const PromptBuilder& prompts, const ImageSpec& images,
                            const std::vector<Sample>& samples, int batch_size) {
  AnswerTable table;
  for (std::size_t begin = 0; begin < samples.size(); begin += static_cast<std::size_t>(batch_size)) {
    const std::size_t end = std::min(samples.size(), begin + static_cast<std::size_t>(batch_size));
    MicroBatch host;
    host.sequence_offsets.push_back(0);
    std::vector<TokenizedSample> tokenized;
    for (std::size_t i = begin; i < end; ++i) {
      tokenized.push_back(prompts.tokenize(samples[i]));
      check(tokenized.back().skip == Skip::none && tokenized.back().turns_cut == 0, "sample {} cannot be scored: {}",
            samples[i].id, tokenized.back().detail);
      append(host, tokenized.back());
      for (const int image : tokenized.back().images) {
        const std::vector<float> pixels = load_pixels(samples[i].images[static_cast<std::size_t>(image)], images);
        host.pixels.insert(host.pixels.end(), pixels.begin(), pixels.end());
      }
    }
    const Batch batch = to_batch(host, images.size, model.dtype(), 0, 0, false).to(model.device());
    Graph graph(Graph::Mode::inference);
    const Tensor logits = model.logits(graph, batch, batch.label_rows);
    const Tensor best = Tensor::empty({logits.dim(0)}, DType::i32, logits.device());
    kernels(logits).argmax(logits, best);
    const std::vector<std::int32_t> predicted = best.to_vector<std::int32_t>();
    std::size_t at = 0;
    for (std::size_t i = begin; i < end; ++i) {
      std::vector<const Part*> answers;
      for (const Part& part : samples[i].parts) {
        if (part.kind == Part::Kind::answer) answers.push_back(&part);
      }
      const auto runs = answer_runs(tokenized[i - begin]);
      check(runs.size() == answers.size(), "sample {} has {} answers but {} labelled runs", samples[i].id,
            answers.size(), runs.size());
      for (std::size_t a = 0; a < runs.size(); ++a) {
        bool right = true;
        const std::int32_t first = predicted[at];
        for (std::size_t j = runs[a].first; j < runs[a].second; ++j, ++at) {
          right &= predicted[at] == tokenized[i - begin].labels[j];
        }
        const bool yes_no = is_yes_no(answers[a]->text);
        AnswerCount& count = table[{answers[a]->task, samples[i].language, yes_no}];
        ++count.asked;
        count.right += right;
        if (yes_no) {
          const bool truth = answers[a]->text == "yes" || answers[a]->text == "是";
          const bool same = first == tokenized[i - begin].labels[runs[a].first];
          count.said_yes += same == truth;
        }
      }
    }
  }
  return table;
}

AnswerCount total(const AnswerTable& table, Language language, bool yes_no) {
  AnswerCount sum;
  for (const auto& [kind, count] : table) {
    if (kind.language != language || kind.yes_no != yes_no) continue;
    sum.asked += count.asked;
    sum.right += count.right;
    sum.said_yes += count.said_yes;
  }
  return sum;
}

std::string format_table(const AnswerTable& table) {
  std::string text =
      fmt::format("{:<24}{:<10}{:<9}{:>8}{:>10}{:>10}\n", "task", "language", "form", "asked", "right", "yes");
  for (const auto& [kind, count] : table) {
    text += fmt::format("{:<24}{:<10}{:<9}{:>8}{:>9.1f}%", kind.task,
                        kind.language == Language::chinese ? "Chinese" : "English", kind.yes_no ? "yes/no" : "open",
                        count.asked, 100 * count.accuracy());
    text += kind.yes_no ? fmt::format("{:>9.1f}%\n",
                                      100.0 * static_cast<double>(count.said_yes) / static_cast<double>(count.asked))
                        : "\n";
  }
  return text;
}

std::vector<Sample> held_out_scene_texts(int scenes, int turns, std::uint64_t seed) {
  std::vector<Sample> samples;
  for (std::uint64_t i = 0; samples.size() < static_cast<std::size_t>(2 * scenes); ++i) {
    Random random(seed, 77, i);
    const Scene scene = random_scene(random);
    if (!is_held_out_layout(scene)) continue;
    for (const Language language : {Language::english, Language::chinese}) {
      samples.push_back(
          scene_text_sample(scene, language, random, fmt::format("text-{}", i), {.turns = turns, .open_percent = 30}));
    }
  }
  return samples;
}

}  // namespace skymm
