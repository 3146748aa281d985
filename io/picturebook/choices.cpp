#include "io/picturebook/choices.hpp"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <utility>

#include "io/picturebook/asking.hpp"
#include "io/picturebook/position.hpp"

namespace skymm {
namespace {

// The right option comes first until all are shuffled.
using Draft = std::optional<ChoiceQuestion>;

// Adds different values of draw() until there are four options.
template <class Draw>
Draft with_wrong_options(ChoiceQuestion question, Draw&& draw) {
  while (question.options.size() < 4) {
    std::string option(draw());
    if (std::ranges::find(question.options, option) == question.options.end())
      question.options.push_back(std::move(option));
  }
  return question;
}

// All of a fixed list are options.
template <class Names>
Draft among(const Asked& q, std::string text, const Names& names, int right) {
  ChoiceQuestion question{std::move(text), {std::string(q.of(names[static_cast<std::size_t>(right)]))}};
  for (std::size_t i = 0; i < names.size(); ++i)
    if (static_cast<int>(i) != right) question.options.emplace_back(q.of(names[i]));
  return question;
}

Draft ask_existence(const Asked& q) {
  const std::vector<SceneObject> emoji = emoji_of(q.scene);
  if (emoji.empty()) return {};
  return with_wrong_options(
      {q.say("Which of these is in the picture?", "下面哪一样在图里？"), {q.name(q.random.pick(emoji))}}, [&] {
        int absent = random_concept(q.scene, q.random);
        while (present(q.scene, absent)) absent = random_concept(q.scene, q.random);
        return q.name({.concept_index = absent});
      });
}

Draft ask_count(const Asked& q) {
  const auto counted = counted_of(q);
  if (!counted) return {};
  const std::vector<Named> numbers(number_words.begin() + 1, number_words.end());
  return among(q, q.say("How many {} are there in the picture?", "图里有几个{}？", counted->many), numbers,
               counted->number - 1);
}

Draft ask_color(const Asked& q) {
  const std::vector<SceneObject> shapes = single_shapes(q.scene);
  if (shapes.empty()) return {};
  const SceneObject& shape = q.random.pick(shapes);
  const auto name = [&](int colour) {
    const Colour& c = colours[static_cast<std::size_t>(colour)];
    return std::string(q.chinese ? c.zh : c.en);
  };
  return with_wrong_options(
      {q.say("What color is the {}?", "{}是什么颜色？", q.of(shape_names[static_cast<std::size_t>(shape.shape)])),
       {name(shape.colour)}},
      [&] { return name(q.random.below(static_cast<int>(colours.size()))); });
}

Draft ask_ocr(const Asked& q) {
  const SceneText& text = q.scene.text;
  if (text.kind == TextKind::none || text.kind == TextKind::sum) return {};
  return with_wrong_options({q.say("What is the text in the picture?", "图中的文字是什么？"), {text.text}}, [&] {
    if (text.kind == TextKind::number) return std::to_string(q.random.between(10, 99));
    const Named& pair = q.random.pick(word_pairs());
    return std::string(text.kind == TextKind::english_word ? pair.en : pair.zh);
  });
}

Draft ask_scene(const Asked& q) {
  const std::vector<SceneObject> emoji = emoji_of(q.scene);
  if (emoji.empty()) return {};
  const auto has = [&](Category c) {
    return std::ranges::any_of(emoji, [&](const auto& o) { return concept_of(o).category == c; });
  };
  const auto phrase = [&](Category c) { return std::string(q.of(category_phrases[static_cast<std::size_t>(c)])); };
  const auto random_category = [&] {
    return concepts()[static_cast<std::size_t>(random_concept(q.scene, q.random))].category;
  };
  return with_wrong_options({q.say("What kind of thing is in the picture?", "图里有哪一类东西？"),
                             {phrase(concept_of(q.random.pick(emoji)).category)}},
                            [&] {
                              Category absent = random_category();
                              while (has(absent)) absent = random_category();
                              return phrase(absent);
                            });
}

Draft ask_commonsense(const Asked& q) {
  unsigned present_bits = 0, unsure_bits = 0;
  for (const SceneObject& object : emoji_of(q.scene)) {
    present_bits |= concept_of(object).properties & 255;
    unsure_bits |= concept_of(object).properties >> 8;
  }
  std::vector<int> here, absent;
  for (int p = 0; p < property_count; ++p) {
    if (present_bits >> p & 1) here.push_back(p);
    if (!((present_bits | unsure_bits) >> p & 1)) absent.push_back(p);
  }
  if (here.empty() || absent.size() < 3) return {};
  const auto phrase = [&](int property) {
    return q.say("something {}", "{}东西", q.of(property_phrases[static_cast<std::size_t>(property)]));
  };
  return with_wrong_options(
      {q.say("Which of these is in the picture?", "下面哪一样在图里？"), {phrase(q.random.pick(here))}},
      [&] { return phrase(q.random.pick(absent)); });
}

// Wrong answers are those of other sums, so that common results are as common among them.
Draft ask_calculation(const Asked& q) {
  if (q.scene.text.kind != TextKind::sum) return {};
  return with_wrong_options({q.say("What is the answer to the sum in the picture?", "图中算式的答案是多少？"),
                             {std::to_string(q.scene.text.answer)}},
                            [&] {
                              const int a = q.random.between(1, 9), b = q.random.between(1, 9);
                              return std::to_string(q.random.coin() ? a + b : std::abs(a - b));
                            });
}

Draft ask_translation(const Asked& q) {
  const SceneText& text = q.scene.text;
  if (text.word < 0) return {};
  const bool from_chinese = text.kind == TextKind::chinese_word;
  const auto translated = [&](const Named& pair) { return std::string(from_chinese ? pair.en : pair.zh); };
  return with_wrong_options(
      {from_chinese ? q.say("What does the Chinese word in the picture mean?", "图中汉字的英文是什么？")
                    : q.say("What is the word in the picture in Chinese?", "图中英文的意思是什么？"),
       {translated(word_pairs()[static_cast<std::size_t>(text.word)])}},
      [&] { return translated(q.random.pick(word_pairs())); });
}

Draft ask_left_right(const Asked& q) {
  static constexpr std::array<Named, 2> sides = {{{"left", "左边"}, {"right", "右边"}}};
  const std::vector<PairApart> pairs = pairs_apart(q.scene, false);
  if (pairs.empty()) return {};
  const PairApart& pair = q.random.pick(pairs);
  return among(q,
               q.say("Is the {} to the left or to the right of the {}?", "{}在{}的左边还是右边？", q.name(*pair.first),
                     q.name(*pair.second)),
               sides, pair.before ? 0 : 1);
}

Draft ask_above_below(const Asked& q) {
  static constexpr std::array<Named, 2> sides = {{{"above", "上面"}, {"below", "下面"}}};
  const std::vector<PairApart> pairs = pairs_apart(q.scene, true);
  if (pairs.empty()) return {};
  const PairApart& pair = q.random.pick(pairs);
  return among(
      q, q.say("Is the {} above or below the {}?", "{}在{}的上面还是下面？", q.name(*pair.first), q.name(*pair.second)),
      sides, pair.before ? 0 : 1);
}

Draft ask_between(const Asked& q) {
  const std::vector<RowOfThree> rows = rows_of_three(q.scene);
  if (rows.empty()) return {};
  const RowOfThree& row = q.random.pick(rows);
  return ChoiceQuestion{q.say("Which of these is between the other two?", "下面哪一样在另外两样之间？"),
                        {q.name(*row.middle), q.name(*row.end), q.name(*row.other_end)}};
}

Draft ask_quadrant(const Asked& q) {
  const std::vector<const SceneObject*> things = things_in_quarters(q.scene);
  if (things.empty()) return {};
  const SceneObject& thing = *q.random.pick(things);
  return among(q, q.say("In which quarter of the picture is the {}?", "{}在图片的哪个四分之一区域里？", q.name(thing)),
               quarter_names, *quarter_of(thing.box));
}

constexpr std::string_view coarse = "coarse_perception", single = "finegrained_perception (instance-level)",
                           cross = "finegrained_perception (cross-instance)", logic = "logic_reasoning",
                           attribute = "attribute_reasoning";

struct Asking {
  ChoiceTask task;
  Draft (*ask)(const Asked&);
  Scene (*scene)(Random&);
};

template <Task task>
Scene scene_of(Random& random) {
  return random_scene_for(task, random);
}
template <PositionGrade grade>
Scene scene_of(Random& random) {
  return random_scene_for(grade, random);
}

const std::vector<Asking>& table() {
  static const std::vector<Asking> rows = {
      {{"existence", "object_localization (existence)", single}, ask_existence, scene_of<Task::existence>},
      {{"count", "object_localization (count)", single}, ask_count, scene_of<Task::count>},
      {{"color", "attribute_recognition", single}, ask_color, scene_of<Task::color>},
      {{"OCR", "ocr", single}, ask_ocr, scene_of<Task::ocr>},
      {{"scene", "image_topic", coarse}, ask_scene, scene_of<Task::scene>},
      {{"commonsense_reasoning", "physical_property_reasoning", attribute},
       ask_commonsense,
       scene_of<Task::commonsense_reasoning>},
      {{"numerical_calculation", "structuralized_imagetext_understanding (sum)", logic},
       ask_calculation,
       scene_of<Task::numerical_calculation>},
      {{"text_translation", "structuralized_imagetext_understanding (translation)", logic},
       ask_translation,
       scene_of<Task::text_translation>},
      {{position_grade_names[0], "spatial_relationship (left, right)", cross},
       ask_left_right,
       scene_of<PositionGrade::left_right>},
      {{position_grade_names[1], "spatial_relationship (above, below)", cross},
       ask_above_below,
       scene_of<PositionGrade::above_below>},
      {{position_grade_names[2], "spatial_relationship (between)", cross},
       ask_between,
       scene_of<PositionGrade::between>},
      {{position_grade_names[3], "object_localization (quadrant)", single},
       ask_quadrant,
       scene_of<PositionGrade::quadrant>}};
  return rows;
}

void shuffle(ChoiceQuestion& question, Random& random) {
  std::vector<std::string>& options = question.options;
  question.right = 0;
  for (int i = static_cast<int>(options.size()) - 1; i > 0; --i) {
    const int k = random.below(i + 1);
    std::swap(options[static_cast<std::size_t>(i)], options[static_cast<std::size_t>(k)]);
    if (question.right == i || question.right == k) question.right = question.right == i ? k : i;
  }
}

}  // namespace

const std::vector<ChoiceTask>& choice_tasks() {
  static const std::vector<ChoiceTask> tasks = [] {
    std::vector<ChoiceTask> out;
    for (const Asking& row : table()) out.push_back(row.task);
    return out;
  }();
  return tasks;
}

std::optional<ChoiceQuestion> choice_question(const Scene& scene, int task, Language language, Random& random) {
  Draft question = table()[static_cast<std::size_t>(task)].ask({scene, language == Language::chinese, random});
  if (question) shuffle(*question, random);
  return question;
}

Scene random_scene_for_choice(int task, Random& random) {
  for (;;) {
    Scene scene = table()[static_cast<std::size_t>(task)].scene(random);
    Random probe = random;
    if (choice_question(scene, task, Language::english, probe)) return scene;
  }
}

}  // namespace skymm
