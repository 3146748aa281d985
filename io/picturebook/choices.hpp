// Multiple-choice questions about scenes, of MMBench's kinds, with one right option.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/picturebook/scene.hpp"

namespace skymm {

struct ChoiceQuestion {
  std::string text;
  std::vector<std::string> options;  // two to four, all different
  int right = 0;                     // into options; drawn evenly
};

struct ChoiceTask {
  std::string_view name;  // as MME's folders are named
  // MMBench's ability (its L3 category), with what is asked in brackets where several tasks share one; and the broader
  // one (L2).
  std::string_view category, l2_category;
};
// Nine tasks without position, and its four grades.
const std::vector<ChoiceTask>& choice_tasks();

// A question of choice_tasks()[task]; nothing where the scene offers none. The same random numbers give the same
// question in either language.
std::optional<ChoiceQuestion> choice_question(const Scene& scene, int task, Language language, Random& random);

// A scene that offers questions of choice_tasks()[task].
Scene random_scene_for_choice(int task, Random& random);

}  // namespace skymm
