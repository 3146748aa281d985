// Questions of position in four grades, each harder than the one before: which of two things is further left; which is
// further up; which of three stands between the others; in which quarter of the picture a thing stands. Nothing is
// asked that one could not see at a glance.
#pragma once

#include <array>
#include <optional>
#include <string_view>
#include <vector>

#include "io/picturebook/questions.hpp"

namespace skymm {

enum class PositionGrade { left_right, above_below, between, quadrant };
constexpr int position_grade_count = 4;
// "position_left_right", ..., as folders and categories are named.
extern const std::array<std::string_view, position_grade_count> position_grade_names;

// As the yes_no_question of a task; the question's task is position. Nothing where the scene offers none of this grade.
std::optional<Question> yes_no_question(const Scene& scene, PositionGrade grade, Language language, Random& random,
                                        std::optional<bool> answer = {});

// A scene that offers questions of `grade`.
Scene random_scene_for(PositionGrade grade, Random& random);

// What the questions are about: things that stand alone in their kind, in the scene's order.

// Two things in different columns, their centres clearly apart (vertical: in different rows). Each two come in both
// orders.
struct PairApart {
  const SceneObject *first, *second;
  bool before;  // the first is further left, or further up
};
std::vector<PairApart> pairs_apart(const Scene& scene, bool vertical);

// Three things of which the middle one lies on the way between the others: at a fifth to four fifths of it, and no
// further off it than a sixth of its length.
struct RowOfThree {
  const SceneObject *middle, *end, *other_end;
};
std::vector<RowOfThree> rows_of_three(const Scene& scene);

// 0 upper left, 1 upper right, 2 lower left, 3 lower right; nothing where the box reaches into another.
std::optional<int> quarter_of(const Box& box);
extern const std::array<Named, 4> quarter_names;
std::vector<const SceneObject*> things_in_quarters(const Scene& scene);

}  // namespace skymm
