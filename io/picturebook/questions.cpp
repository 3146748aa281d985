#include "io/picturebook/questions.hpp"

#include <algorithm>
#include <bit>
#include <cstdlib>

#include "io/picturebook/asking.hpp"

namespace skymm {

const std::array<std::string_view, task_count> task_names = {
    "existence",       "count", "position", "color", "OCR", "scene", "commonsense_reasoning", "numerical_calculation",
    "text_translation"};

namespace {

using Text = std::optional<std::string>;

bool shape_present(const Scene& scene, int shape) {
  return std::ranges::any_of(scene.objects, [&](const auto& o) { return o.shape == shape; });
}

Text ask_existence(const Asked& q, bool truth) {
  const std::vector<SceneObject> emoji = emoji_of(q.scene);
  std::vector<int> here, absent;
  for (int s = 0; s < 3; ++s) (shape_present(q.scene, s) ? here : absent).push_back(s);
  const bool shapes = !here.empty() && !absent.empty();
  if (emoji.empty() && !shapes) return {};
  std::string_view name;
  if (emoji.empty() || (shapes && q.random.chance(15))) {
    name = q.of(shape_names[static_cast<std::size_t>(q.random.pick(truth ? here : absent))]);
  } else {
    int index = q.random.pick(emoji).concept_index;
    while (!truth && present(q.scene, index)) index = random_concept(q.scene, q.random);
    const Concept& concept_ = concepts()[static_cast<std::size_t>(index)];
    name = q.chinese ? concept_.name_zh : concept_.name_en;
  }
  return q.is_there(q.a(name));
}

Text ask_count(const Asked& q, bool truth) {
  const auto counted = counted_of(q);
  if (!counted) return {};
  const int most = q.scene.text.kind == TextKind::none ? 4 : 3;
  int number = counted->number;
  while (!truth && number == counted->number) number = q.random.between(1, most);
  const std::string_view word = q.of(number_words[static_cast<std::size_t>(number)]);
  const std::string& name = number == 1 ? counted->one : counted->many;
  if (q.random.coin()) return q.say("Do you see {1} {0} in the picture?", "能看到{1}个{0}吗？", name, word);
  return q.say(number == 1 ? "Is there {1} {0} in the picture?" : "Are there {1} {0} in the picture?",
               "图里有{1}个{0}吗？", name, word);
}

Text ask_position(const Asked& q, bool truth) {
  struct Pair {
    const SceneObject *first, *second;
    bool vertical;
  };
  std::vector<Pair> pairs;
  for (const SceneObject& a : q.scene.objects) {
    for (const SceneObject& b : q.scene.objects) {
      if (&a == &b || !unique(q.scene, a) || !unique(q.scene, b)) continue;
      const int dx = a.box.centre_x() - b.box.centre_x(), dy = a.box.centre_y() - b.box.centre_y();
      if (a.box.column() != b.box.column() && std::abs(dx) >= clear_distance) pairs.push_back({&a, &b, false});
      if (a.box.row() != b.box.row() && std::abs(dy) >= clear_distance) pairs.push_back({&a, &b, true});
    }
  }
  if (pairs.empty()) return {};
  const auto [a, b, vertical] = q.random.pick(pairs);
  const bool before = vertical ? a->box.centre_y() < b->box.centre_y() : a->box.centre_x() < b->box.centre_x();
  static constexpr Named relations[2][2] = {{{"right of", "右边"}, {"left of", "左边"}},
                                            {{"below", "下面"}, {"above", "上面"}}};
  return q.say("Is the {} {} the {}?", "{0}在{2}的{1}吗？", q.name(*a), q.of(relations[vertical][before == truth]),
               q.name(*b));
}

Text ask_color(const Asked& q, bool truth) {
  std::vector<SceneObject> shapes;
  std::ranges::copy_if(q.scene.objects, std::back_inserter(shapes), [](const auto& o) { return o.is_shape(); });
  if (shapes.empty()) return {};
  const SceneObject object = q.random.pick(shapes);
  const auto has = [&](int colour) {
    return std::ranges::any_of(shapes, [&](const auto& o) { return o.shape == object.shape && o.colour == colour; });
  };
  int colour = object.colour;
  while (!truth && has(colour)) colour = q.random.below(static_cast<int>(colours.size()));
  const std::string_view shape = q.of(shape_names[static_cast<std::size_t>(object.shape)]);
  const Colour& c = colours[static_cast<std::size_t>(colour)];
  const std::string_view colour_name = q.chinese ? c.zh : c.en;
  const bool single = shapes_of(q.scene, object.shape) == 1;
  if (single && q.random.coin()) return q.say("Is the {} {}?", "{}是{}的吗？", shape, colour_name);
  return q.say("Is there {1} {0} in the picture?", "图里有{1}{0}吗？", shape, q.a(colour_name));
}

Text ask_ocr(const Asked& q, bool truth) {
  const SceneText& text = q.scene.text;
  if (text.kind == TextKind::none || text.kind == TextKind::sum) return {};
  std::string shown = text.text;
  while (!truth && shown == text.text) {
    if (text.kind == TextKind::number) {
      shown = std::to_string(q.random.between(10, 99));
    } else {
      const Named& pair = q.random.pick(word_pairs());
      shown = text.kind == TextKind::english_word ? pair.en : pair.zh;
    }
  }
  if (q.random.coin()) return q.say("Does the picture say \"{}\"?", "图中写着“{}”吗？", shown);
  return q.say("Is the text in the picture \"{}\"?", "图中的文字是“{}”吗？", shown);
}

Text ask_scene(const Asked& q, bool truth) {
  const std::vector<SceneObject> emoji = emoji_of(q.scene);
  if (emoji.empty()) return {};
  const auto has = [&](Category c) {
    return std::ranges::any_of(emoji, [&](const auto& o) { return concept_of(o).category == c; });
  };
  Category category = concept_of(q.random.pick(emoji)).category;
  while (!truth && has(category)) {
    category = concepts()[static_cast<std::size_t>(random_concept(q.scene, q.random))].category;
  }
  return q.is_there(q.of(category_phrases[static_cast<std::size_t>(category)]));
}

Text ask_commonsense(const Asked& q, bool truth) {
  std::vector<int> here;  // a property for each object and property, so that common ones are asked as often when absent
  unsigned present_bits = 0, unsure_bits = 0;
  for (const SceneObject& object : emoji_of(q.scene)) {
    const unsigned bits = concept_of(object).properties;
    present_bits |= bits & 255;
    unsure_bits |= bits >> 8;
    for (int p = 0; p < property_count; ++p)
      if (bits >> p & 1) here.push_back(p);
  }
  if (here.empty()) return {};
  int property = q.random.pick(here);
  while (!truth && ((present_bits | unsure_bits) >> property & 1)) {
    const unsigned bits = concepts()[static_cast<std::size_t>(random_concept(q.scene, q.random))].properties & 255;
    if (bits) property = std::countr_zero(bits);
    if ((present_bits | unsure_bits) == 63) return {};
  }
  return q.say("Is there something {} in the picture?", "图里有{}东西吗？",
               q.of(property_phrases[static_cast<std::size_t>(property)]));
}

Text ask_calculation(const Asked& q, bool truth) {
  if (q.scene.text.kind != TextKind::sum) return {};
  int answer = q.scene.text.answer;
  // A wrong answer is that of another sum, so that common results are as common among the wrong ones.
  while (!truth && answer == q.scene.text.answer) {
    const int a = q.random.between(1, 9), b = q.random.between(1, 9);
    answer = q.random.coin() ? a + b : std::abs(a - b);
  }
  if (q.random.coin()) return q.say("Does the sum in the picture make {}?", "图中算式等于{}吗？", answer);
  return q.say("Is the answer to the sum in the picture {}?", "图中算式的答案是{}吗？", answer);
}

Text ask_translation(const Asked& q, bool truth) {
  const SceneText& text = q.scene.text;
  if (text.word < 0) return {};
  int word = text.word;
  while (!truth && word == text.word) word = q.random.below(static_cast<int>(word_pairs().size()));
  const Named& pair = word_pairs()[static_cast<std::size_t>(word)];
  const bool first = q.random.coin();
  if (text.kind == TextKind::chinese_word) {
    return first ? q.say("Does the Chinese word in the picture mean \"{}\"?", "图中汉字的英文是“{}”吗？", pair.en)
                 : q.say("Is \"{}\" the English for the word in the picture?", "“{}”是图中汉字的英文吗？", pair.en);
  }
  return first ? q.say("Does the English word in the picture mean \"{}\"?", "图中英文的意思是“{}”吗？", pair.zh)
               : q.say("Is \"{}\" the Chinese for the word in the picture?", "“{}”是图中英文的意思吗？", pair.zh);
}

constexpr Text (*askers[task_count])(const Asked&, bool) = {ask_existence,   ask_count,       ask_position,
                                                            ask_color,       ask_ocr,         ask_scene,
                                                            ask_commonsense, ask_calculation, ask_translation};

std::optional<Question> open_position(const Asked& q) {
  std::vector<const SceneObject*> alone;
  for (const SceneObject& object : q.scene.objects)
    if (unique(q.scene, object)) alone.push_back(&object);
  if (alone.empty()) return {};
  const SceneObject& object = *q.random.pick(alone);
  const Language language = q.chinese ? Language::chinese : Language::english;
  return Question{q.say("Where is the {}?", "{}在哪里？", q.name(object)),
                  std::string(position_name(object.box, language))};
}

std::optional<Question> open_scene(const Asked& q) {
  const SceneObject& object = q.random.pick(q.scene.objects);
  const Language language = q.chinese ? Language::chinese : Language::english;
  return Question{q.say("What is at the {}?", "{}边是什么？", position_name(object.box, language)), q.name(object)};
}

}  // namespace

std::optional<Question> yes_no_question(const Scene& scene, Task task, Language language, Random& random,
                                        std::optional<bool> answer) {
  const Asked asked{scene, language == Language::chinese, random};
  const bool truth = answer ? *answer : random.coin();
  const Text text = askers[static_cast<int>(task)](asked, truth);
  if (!text) return {};
  return asked.closed(*text, task, truth);
}

std::optional<Question> open_question(const Scene& scene, Task task, Language language, Random& random) {
  const Asked q{scene, language == Language::chinese, random};
  std::optional<Question> question;
  switch (task) {
    case Task::count:
      if (const auto counted = counted_of(q))
        question = Question{q.say("How many {} are there?", "有几个{}？", counted->many),
                            std::string(q.of(number_words[static_cast<std::size_t>(counted->number)]))};
      break;
    case Task::position:
      question = open_position(q);
      break;
    case Task::color:
      if (const auto shapes = single_shapes(scene); !shapes.empty()) {
        const SceneObject& object = random.pick(shapes);
        const Colour& colour = colours[static_cast<std::size_t>(object.colour)];
        question = Question{
            q.say("What color is the {}?", "{}是什么颜色？", q.of(shape_names[static_cast<std::size_t>(object.shape)])),
            std::string(q.chinese ? colour.zh : colour.en)};
      }
      break;
    case Task::ocr:
      if (scene.text.kind != TextKind::none)
        question = Question{q.say("What is the text?", "文字是什么？"), scene.text.text};
      break;
    case Task::scene:
      question = open_scene(q);
      break;
    case Task::numerical_calculation:
      if (scene.text.kind == TextKind::sum)
        question =
            Question{q.say("What is the answer to the sum?", "算式的答案是多少？"), std::to_string(scene.text.answer)};
      break;
    case Task::text_translation:
      if (scene.text.word >= 0) {
        const Named& pair = word_pairs()[static_cast<std::size_t>(scene.text.word)];
        const bool from_chinese = scene.text.kind == TextKind::chinese_word;
        question = Question{from_chinese ? q.say("What does the Chinese word mean?", "汉字的英文是什么？")
                                         : q.say("What is the word in Chinese?", "英文的意思是什么？"),
                            std::string(from_chinese ? pair.en : pair.zh)};
      }
      break;
    default:
      break;
  }
  if (question) question->task = task;
  return question;
}

Scene random_scene_for(Task task, Random& random, const SceneOptions& options) {
  for (;;) {
    SceneOptions wanted = options;
    switch (task) {
      case Task::count:
        wanted.counting_percent = 100;
        wanted.text_percent = 0;
        break;
      case Task::position:
        wanted.min_objects = std::max(2, wanted.min_objects);
        wanted.counting_percent = 0;
        break;
      case Task::color:
        wanted.shape_percent = std::max(60, wanted.shape_percent);
        break;
      case Task::ocr:
        wanted.text = static_cast<TextKind>(random.between(1, 3));
        break;
      case Task::numerical_calculation:
        wanted.text = TextKind::sum;
        break;
      case Task::text_translation:
        wanted.text = random.coin() ? TextKind::english_word : TextKind::chinese_word;
        break;
      default:
        break;
    }
    Scene scene = random_scene(random, wanted);
    Random probe = random;  // asks without moving the caller's numbers on
    if (yes_no_question(scene, task, Language::english, probe)) return scene;
  }
}

}  // namespace skymm
