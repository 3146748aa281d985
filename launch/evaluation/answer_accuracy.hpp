// How often a model's answers are right, word for word, by kind of question and language: teacher-forced, all turns of
// a sample in one pass. Stricter than MME's rule, and fast enough to run while training.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "io/pixels.hpp"
#include "io/prompt.hpp"
#include "ops/models/multimodal.hpp"

namespace skymm {

struct AnswerKind {
  std::string task;
  Language language = Language::english;
  bool yes_no = true;
  auto operator<=>(const AnswerKind&) const = default;
};

struct AnswerCount {
  std::int64_t asked = 0, right = 0;
  std::int64_t said_yes = 0;  // of yes/no questions
  double accuracy() const { return asked > 0 ? static_cast<double>(right) / static_cast<double>(asked) : 0; }
};

using AnswerTable = std::map<AnswerKind, AnswerCount>;

// Every answer of every sample whose predicted tokens (greedy, given the true tokens before) are all the true ones
// counts as right.
AnswerTable answer_accuracy(Multimodal& model, const PromptBuilder& prompts, const ImageSpec& images,
                            const std::vector<Sample>& samples, int batch_size = 32);

// The accuracy over all kinds with this language and form.
AnswerCount total(const AnswerTable& table, Language language, bool yes_no);

// A line a kind, for people.
std::string format_table(const AnswerTable& table);

// Text-only scene questions of held-out layouts, `scenes` in each language, `turns` questions each.
std::vector<Sample> held_out_scene_texts(int scenes, int turns, std::uint64_t seed);

}  // namespace skymm
