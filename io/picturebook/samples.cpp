#include <algorithm>

#include "io/picturebook/picturebook.hpp"

namespace skymm {
namespace {

// How often each task is asked in training, in Task's order.
constexpr int task_weights[task_count] = {28, 13, 20, 14, 4, 11, 4, 2, 4};

Task weighted_task(Random& random) {
  int total = 0;
  for (const int weight : task_weights) total += weight;
  int at = random.below(total), task = 0;
  while (at >= task_weights[task]) at -= task_weights[task++];
  return static_cast<Task>(task);
}

// Whether a turn is open, and what a yes/no turn's answer is, is drawn before the question: a scene that runs out of
// questions of one answer repeats one rather than leaning to the other.
std::optional<Question> draw_turn(const Scene& scene, Language language, Random& random, const TurnOptions& options,
                                  const std::vector<std::string>& asked) {
  const bool open = random.chance(options.open_percent), truth = !options.negatives || random.coin();
  std::optional<Question> last;
  for (int attempt = 0; attempt < 40; ++attempt) {
    const Task task = options.look_ups ? (open ? Task::position : Task::existence) : weighted_task(random);
    auto question =
        open ? open_question(scene, task, language, random) : yes_no_question(scene, task, language, random, truth);
    if (!question) continue;
    last = std::move(question);
    if (std::ranges::find(asked, last->text) == asked.end()) return last;
  }
  // Asked again, a question can be answered from its first answer: no look-up.
  return options.look_ups ? std::nullopt : last;
}

void add_turns(Sample& sample, const Scene& scene, Language language, Random& random, const TurnOptions& options) {
  std::vector<std::string> asked;
  for (int turn = 0; turn < options.turns; ++turn) {
    const auto question = draw_turn(scene, language, random, options, asked);
    if (!question) continue;
    asked.push_back(question->text);
    sample.parts.push_back(text_part(question->text));
    sample.parts.push_back(answer_part(
        question->answer, std::string(task_names[static_cast<std::size_t>(question->task)]), question->polarity));
  }
}

Sample bare_sample(const Scene& scene, Language language, std::string id, const char* source) {
  Sample sample;
  sample.id = std::move(id);
  sample.language = language;
  sample.source = source;
  sample.annotations = annotate(scene);
  return sample;
}

}  // namespace

std::string_view describe_request(Language language) {
  return language == Language::chinese ? "描述图片。" : "Describe the picture.";
}

Sample caption_sample(const Scene& scene, const std::string& png, Language language, std::string id) {
  Sample sample = bare_sample(scene, language, std::move(id), "canvas");
  sample.images = {png};
  sample.parts = {image_part(0), text_part(std::string(describe_request(language))),
                  answer_part(describe(scene, language), "caption", Polarity::positive)};
  return sample;
}

Sample instruction_sample(const Scene& scene, const std::string& png, Language language, Random& random, std::string id,
                          const TurnOptions& options) {
  Sample sample = bare_sample(scene, language, std::move(id), "instruction");
  sample.images = {png};
  sample.parts = {image_part(0)};
  add_turns(sample, scene, language, random, options);
  return sample;
}

Sample scene_text_sample(const Scene& scene, Language language, Random& random, std::string id,
                         const TurnOptions& options) {
  Sample sample = bare_sample(scene, language, std::move(id), "scene_text");
  sample.annotations.clear();  // the description says it all
  // Some scenes are told in the other language than they are asked about in, and some are to be told again:
  // what a caption needs (to look up, and to translate) is then the language model's own ability.
  const Language other = language == Language::chinese ? Language::english : Language::chinese;
  sample.parts = {text_part(describe(scene, random.chance(options.other_language_percent) ? other : language) + "\n")};
  if (random.chance(options.describe_percent)) {
    sample.parts.push_back(text_part(std::string(describe_request(language))));
    sample.parts.push_back(answer_part(describe(scene, language), "caption", Polarity::positive));
  }
  add_turns(sample, scene, language, random, options);
  return sample;
}

Scene training_scene(Random& random) {
  for (;;) {
    // Half of the scenes as they come, half made for a task, so that rare kinds have enough to be asked of.
    Scene scene = random.coin() ? random_scene(random) : random_scene_for(weighted_task(random), random);
    if (!is_held_out_layout(scene)) return scene;
  }
}

}  // namespace skymm
