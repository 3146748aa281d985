// Questions about scenes, of MME's kinds, with their true answers, in English and Chinese. They are asked of a picture
// and, word for word the same, of its description.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "io/picturebook/scene.hpp"

namespace skymm {

enum class Task {
  existence,
  count,
  position,
  color,
  ocr,
  scene,
  commonsense_reasoning,
  numerical_calculation,
  text_translation
};
constexpr int task_count = 9;
// MME's names: "existence", ..., "OCR", ...
extern const std::array<std::string_view, task_count> task_names;

struct Question {
  std::string text;    // yes/no questions end in "Please answer yes or no." or "请回答是或否。"
  std::string answer;  // "yes", "no", "是", "否", or a word or two
  Task task = Task::existence;
  Polarity polarity = Polarity::positive;  // negative: about what is not in the picture; its answer is no
};

// A yes/no question. Its answer is drawn evenly and independently of everything else, or given. What "no" asks about is
// drawn as "yes" draws it, so that the question alone does not give the answer away. Nothing where the scene offers no
// question of this task (a position with one object, a text with no text).
std::optional<Question> yes_no_question(const Scene& scene, Task task, Language language, Random& random,
                                        std::optional<bool> answer = {});

// A question answered by a word or two ("What color is the circle?" "red"), where the scene offers one.
std::optional<Question> open_question(const Scene& scene, Task task, Language language, Random& random);

// A scene that offers questions of `task`, with what the task needs more common than random_scene has it.
Scene random_scene_for(Task task, Random& random, const SceneOptions& options = {});

}  // namespace skymm
