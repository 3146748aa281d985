#include "io/picturebook/position.hpp"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "io/picturebook/asking.hpp"

namespace skymm {

const std::array<std::string_view, position_grade_count> position_grade_names = {
    "position_left_right", "position_above_below", "position_between", "position_quadrant"};

const std::array<Named, 4> quarter_names = {
    {{"upper left", "左上"}, {"upper right", "右上"}, {"lower left", "左下"}, {"lower right", "右下"}}};

namespace {

std::vector<const SceneObject*> unique_things(const Scene& scene) {
  std::vector<const SceneObject*> things;
  for (const SceneObject& object : scene.objects)
    if (unique(scene, object)) things.push_back(&object);
  return things;
}

// In whole numbers, so that every machine draws the same lines.
bool lies_between(const Box& middle, const Box& end, const Box& other_end) {
  const int x = other_end.centre_x() - end.centre_x(), y = other_end.centre_y() - end.centre_y();
  const int dx = middle.centre_x() - end.centre_x(), dy = middle.centre_y() - end.centre_y();
  const int length = x * x + y * y;  // squared
  const int along = dx * x + dy * y, off = std::abs(dx * y - dy * x);
  return 5 * along >= length && 5 * along <= 4 * length && 6 * off <= length;
}

using Text = std::optional<std::string>;

Text ask_relation(const Asked& q, bool vertical, bool truth) {
  const std::vector<PairApart> pairs = pairs_apart(q.scene, vertical);
  if (pairs.empty()) return {};
  const auto [first, second, before] = q.random.pick(pairs);
  static constexpr Named relations[2][2] = {{{"right of", "右边"}, {"left of", "左边"}},
                                            {{"below", "下面"}, {"above", "上面"}}};
  return q.say("Is the {} {} the {}?", "{0}在{2}的{1}吗？", q.name(*first), q.of(relations[vertical][before == truth]),
               q.name(*second));
}

// "No" asks whether an end stands between the other two of a row: all three are named either way.
Text ask_between(const Asked& q, bool truth) {
  const std::vector<RowOfThree> rows = rows_of_three(q.scene);
  if (rows.empty()) return {};
  auto [middle, end, other_end] = q.random.pick(rows);
  if (q.random.coin()) std::swap(end, other_end);
  if (!truth) std::swap(middle, end);
  if (q.random.coin()) std::swap(end, other_end);
  return q.say("Is the {} between the {} and the {}?", "{}在{}与{}之间吗？", q.name(*middle), q.name(*end),
               q.name(*other_end));
}

Text ask_quadrant(const Asked& q, bool truth) {
  const std::vector<const SceneObject*> things = things_in_quarters(q.scene);
  if (things.empty()) return {};
  const SceneObject& thing = *q.random.pick(things);
  int quarter = *quarter_of(thing.box);
  if (!truth) quarter = (quarter + q.random.between(1, 3)) % 4;
  return q.say("Is the {} in the {} quarter of the picture?", "{}在图片的{}四分之一区域里吗？", q.name(thing),
               q.of(quarter_names[static_cast<std::size_t>(quarter)]));
}

Text ask(const Asked& q, PositionGrade grade, bool truth) {
  switch (grade) {
    case PositionGrade::left_right:
      return ask_relation(q, false, truth);
    case PositionGrade::above_below:
      return ask_relation(q, true, truth);
    case PositionGrade::between:
      return ask_between(q, truth);
    case PositionGrade::quadrant:
      return ask_quadrant(q, truth);
  }
  return {};
}

}  // namespace

std::vector<PairApart> pairs_apart(const Scene& scene, bool vertical) {
  std::vector<PairApart> pairs;
  const std::vector<const SceneObject*> things = unique_things(scene);
  for (const SceneObject* a : things) {
    for (const SceneObject* b : things) {
      const bool apart = vertical ? a->box.row() != b->box.row() : a->box.column() != b->box.column();
      const int distance = vertical ? b->box.centre_y() - a->box.centre_y() : b->box.centre_x() - a->box.centre_x();
      if (apart && std::abs(distance) >= clear_distance) pairs.push_back({a, b, distance > 0});
    }
  }
  return pairs;
}

std::vector<RowOfThree> rows_of_three(const Scene& scene) {
  std::vector<RowOfThree> rows;
  const std::vector<const SceneObject*> things = unique_things(scene);
  for (std::size_t i = 0; i < things.size(); ++i) {
    for (std::size_t k = i + 1; k < things.size(); ++k) {
      for (const SceneObject* middle : things) {
        if (middle != things[i] && middle != things[k] && lies_between(middle->box, things[i]->box, things[k]->box))
          rows.push_back({middle, things[i], things[k]});
      }
    }
  }
  return rows;
}

std::optional<int> quarter_of(const Box& box) {
  constexpr int half = canvas_size / 2;
  const bool left = box.x + box.w <= half, right = box.x >= half;
  const bool upper = box.y + box.h <= half, lower = box.y >= half;
  if ((!left && !right) || (!upper && !lower)) return {};
  return (lower ? 2 : 0) + (right ? 1 : 0);
}

std::vector<const SceneObject*> things_in_quarters(const Scene& scene) {
  std::vector<const SceneObject*> things = unique_things(scene);
  std::erase_if(things, [](const SceneObject* thing) { return !quarter_of(thing->box); });
  return things;
}

std::optional<Question> yes_no_question(const Scene& scene, PositionGrade grade, Language language, Random& random,
                                        std::optional<bool> answer) {
  const Asked asked{scene, language == Language::chinese, random};
  const bool truth = answer ? *answer : random.coin();
  const Text text = ask(asked, grade, truth);
  if (!text) return {};
  return asked.closed(*text, Task::position, truth);
}

Scene random_scene_for(PositionGrade grade, Random& random) {
  SceneOptions options;
  options.counting_percent = 0;
  options.min_objects = grade == PositionGrade::between ? 3 : 2;
  for (;;) {
    Scene scene = random_scene(random, options);
    Random probe = random;  // asks without moving the caller's numbers on
    if (yes_no_question(scene, grade, Language::english, probe)) return scene;
  }
}

}  // namespace skymm
