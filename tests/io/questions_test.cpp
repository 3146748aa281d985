// Answers are checked by an evaluator of its own: it knows a scene only by its annotations, a question only by its
// text.
#include "io/picturebook/questions.hpp"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "io/picturebook/picturebook.hpp"

namespace skymm {
namespace {

using nlohmann::json;

struct Seen {
  std::string concept_en, concept_zh, color;  // color: English, shapes only
  double x, y;                                // centre
};

const Concept* concept_named(const std::string& name) {
  for (const Concept& c : concepts())
    if (c.name_en == name || c.name_zh == name) return &c;
  return nullptr;
}

class Evaluator {
 public:
  explicit Evaluator(const std::string& annotations) {
    const json truth = json::parse(annotations);
    for (const json& o : truth["objects"])
      seen_.push_back({o["name_en"], o["name_zh"], o.value("color", ""),
                       o["x"].get<double>() + o["w"].get<double>() / 2,
                       o["y"].get<double>() + o["h"].get<double>() / 2});
    if (!truth["text"].is_null()) text_ = truth["text"]["text"];
  }

  bool holds(const std::string& question) const {
    std::smatch m;
    const auto is = [&](const char* pattern) { return std::regex_match(question, m, std::regex(pattern)); };
    const std::string en = " Please answer yes or no\\.", zh = "请回答是或否。";
    const auto either = [&](const std::string& english, const std::string& chinese) {
      return is((english + en).c_str()) || is((chinese + zh).c_str());
    };
    if (either("(?:Do you see|Are there|Is there) (one|two|three|four) (.*?)(?: in the picture)\\?",
               "(?:图里有|能看到)(一|两|三|四)个(.*)吗？"))
      return count(m[2]) == number(m[1]);
    if (either("(?:Does the picture say|Is the text in the picture) \"(.*)\"\\?",
               "(?:图中的文字是|图中写着)“(.*)”吗？"))
      return text_ == m[1];
    if (either("(?:Is the answer to|Does) the sum in the picture(?: make)? (\\d+)\\?",
               "图中算式(?:的答案是|等于)(\\d+)吗？"))
      return sum() == std::stoi(m[1]);
    if (either("Does the (?:Chinese|English) word in the picture mean \"(.*)\"\\?",
               "图中(?:汉字的英文|英文的意思)是“(.*)”吗？") ||
        either("Is \"(.*)\" the (?:English|Chinese) for the word in the picture\\?",
               "“(.*)”是图中(?:汉字的英文|英文的意思)吗？"))
      return translates(m[1]);
    if (either("Is the (.*) (left of|right of|above|below) the (.*)\\?", "(.*)在(.*)的(左边|右边|上面|下面)吗？")) {
      const bool chinese = question.ends_with(zh);
      return related(find(m[1]), find(chinese ? m[2] : m[3]), chinese ? m[3] : m[2]);
    }
    if (either("Is there something (.*) in the picture\\?", "图里有(.*)东西吗？")) return property(m[1]);
    if (either("Is there (.*) in the picture\\?", "图里有(.*)吗？")) return there_is(m[1]);
    if (either("Is the (circle|square|triangle) (.*)\\?", "(圆形|方形|三角形)是(.*)的吗？"))
      return find(english_color(m[2]) + " " + m[1].str()) != nullptr;
    ADD_FAILURE() << "a question of no known form: " << question;
    return false;
  }

 private:
  static int number(const std::string& word) {
    static const std::map<std::string, int> words = {{"one", 1}, {"two", 2}, {"three", 3}, {"four", 4},
                                                     {"一", 1},  {"两", 2},  {"三", 3},    {"四", 4}};
    return words.at(word);
  }
  static std::string english_color(const std::string& name) {
    for (const Colour& c : colours)
      if (name == c.zh || name == c.en) return std::string(c.en);
    return "";
  }
  // Colour and shape apart: "red circle", "红色圆形", "red 圆形", or a plain name.
  static std::pair<std::string, std::string> parted(const std::string& name) {
    for (const Colour& c : colours)
      for (const std::string_view colour : {c.en, c.zh})
        if (name.starts_with(colour) && name.size() > colour.size()) {
          std::string rest = name.substr(colour.size());
          if (rest[0] == ' ') rest.erase(0, 1);
          return {std::string(c.en), rest};
        }
    return {"", name};
  }
  bool matches(const Seen& s, const std::string& name) const {
    const auto [color, rest] = parted(name);
    return (color.empty() || color == s.color) && (rest == s.concept_en || rest == s.concept_zh);
  }
  const Seen* find(const std::string& name) const {
    for (const Seen& s : seen_)
      if (matches(s, name)) return &s;
    return nullptr;
  }
  int count(const std::string& name) const {
    int n = 0;
    for (const Seen& s : seen_) n += matches(s, name) || plural(s.concept_en) == name;
    return n;
  }
  bool there_is(std::string name) const {
    for (std::size_t c = 0; c < category_phrases.size(); ++c)
      if (name == category_phrases[c].en || name == category_phrases[c].zh)
        return any_concept([&](const Concept& it) { return static_cast<std::size_t>(it.category) == c; });
    name = std::regex_replace(name, std::regex("^an? "), "");
    return find(name) != nullptr;
  }
  bool property(const std::string& phrase) const {
    for (std::size_t p = 0; p < property_phrases.size(); ++p)
      if (phrase == property_phrases[p].en || phrase == property_phrases[p].zh)
        return any_concept([&](const Concept& it) { return (it.properties >> p & 1) != 0; });
    ADD_FAILURE() << "no property: " << phrase;
    return false;
  }
  template <class Test>
  bool any_concept(Test&& test) const {
    for (const Seen& s : seen_)
      if (const Concept* c = concept_named(s.concept_en); c && test(*c)) return true;
    return false;
  }
  bool related(const Seen* a, const Seen* b, const std::string& relation) const {
    if (!a || !b) {
      ADD_FAILURE() << "a relation of things that are not there";
      return false;
    }
    if (relation == "left of" || relation == "左边") return a->x < b->x;
    if (relation == "right of" || relation == "右边") return a->x > b->x;
    if (relation == "above" || relation == "上面") return a->y < b->y;
    return a->y > b->y;
  }
  int sum() const {
    const int a = text_[0] - '0', b = text_[2] - '0';
    return text_[1] == '+' ? a + b : a - b;
  }
  bool translates(const std::string& word) const {
    for (const Named& pair : word_pairs())
      if ((pair.en == text_ && pair.zh == word) || (pair.zh == text_ && pair.en == word)) return true;
    return false;
  }

  std::vector<Seen> seen_;
  std::string text_;
};

class EveryTask : public ::testing::TestWithParam<std::tuple<int, Language>> {
 protected:
  Task task() const { return static_cast<Task>(std::get<0>(GetParam())); }
  Language language() const { return std::get<1>(GetParam()); }
};

TEST_P(EveryTask, AnswersAreTrueAndEven) {
  const std::string yes = language() == Language::chinese ? "是" : "yes";
  constexpr int asked = 3000;
  int positive = 0;
  std::map<std::string, std::pair<int, int>> by_text;  // yes and no
  for (int i = 0; i < asked; ++i) {
    Random random(5, static_cast<std::uint64_t>(std::get<0>(GetParam())), static_cast<std::uint64_t>(i));
    SceneOptions options;
    options.held_out = i % 10 == 9;
    const Scene scene = random_scene_for(task(), random, options);
    const auto question = yes_no_question(scene, task(), language(), random);
    if (!question) continue;  // rare: a commonsense question whose "no" does not exist
    const bool truth = Evaluator(annotate(scene)).holds(question->text);
    EXPECT_EQ(question->answer == yes, truth) << question->text << "\n" << annotate(scene);
    EXPECT_EQ(question->polarity, truth ? Polarity::positive : Polarity::negative);
    EXPECT_EQ(question->task, task());
    positive += truth;
    if (!options.held_out) (truth ? by_text[question->text].first : by_text[question->text].second) += 1;
  }
  EXPECT_NEAR(positive, asked / 2, 120);  // more than four standard deviations
  // The best guess from the question alone is little better than chance: frequent questions are even.
  for (const auto& [text, counts] : by_text) {
    const int n = counts.first + counts.second;
    if (n >= 60) {
      EXPECT_NEAR(static_cast<double>(counts.first) / n, 0.5, 0.25) << text << " " << n;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Questions, EveryTask,
                         ::testing::Combine(::testing::Range(0, task_count),
                                            ::testing::Values(Language::english, Language::chinese)));

TEST(Questions, GivenAnswersAreKept) {
  for (int i = 0; i < 500; ++i) {
    Random random(6, 0, static_cast<std::uint64_t>(i));
    const Scene scene = random_scene_for(Task::existence, random);
    for (const bool answer : {true, false}) {
      const auto question = yes_no_question(scene, Task::existence, Language::english, random, answer);
      ASSERT_TRUE(question);
      EXPECT_EQ(question->answer, answer ? "yes" : "no");
      EXPECT_EQ(Evaluator(annotate(scene)).holds(question->text), answer);
    }
  }
}

TEST(Questions, CountsAskedForAreEven) {
  std::array<int, 5> numbers{};
  for (int i = 0; i < 2000; ++i) {
    Random random(7, 0, static_cast<std::uint64_t>(i));
    const Scene scene = random_scene_for(Task::count, random);
    const auto question = open_question(scene, Task::count, Language::english, random);
    ASSERT_TRUE(question);
    const std::vector<std::string> words = {"zero", "one", "two", "three", "four"};
    numbers[static_cast<std::size_t>(std::ranges::find(words, question->answer) - words.begin())] += 1;
  }
  for (int n = 1; n <= 4; ++n) EXPECT_NEAR(numbers[static_cast<std::size_t>(n)], 500, 90) << n;
}

TEST(Scene, ObjectsAreWithinTheCanvasApartAndInReadingOrder) {
  for (int i = 0; i < 2000; ++i) {
    Random random(8, 0, static_cast<std::uint64_t>(i));
    const Scene scene = random_scene(random);
    std::vector<Box> boxes;
    for (const SceneObject& object : scene.objects) boxes.push_back(object.box);
    for (std::size_t k = 1; k < boxes.size(); ++k)
      EXPECT_LT(boxes[k - 1].row() * 3 + boxes[k - 1].column(), boxes[k].row() * 3 + boxes[k].column());
    if (scene.text.kind != TextKind::none) boxes.push_back(scene.text.box);
    ASSERT_GE(scene.objects.size(), 1u);
    ASSERT_LE(boxes.size(), 4u);
    std::set<int> cells;
    for (std::size_t a = 0; a < boxes.size(); ++a) {
      EXPECT_GE(std::min(boxes[a].x, boxes[a].y), 0);
      EXPECT_LE(std::max(boxes[a].x + boxes[a].w, boxes[a].y + boxes[a].h), canvas_size);
      cells.insert(boxes[a].row() * 3 + boxes[a].column());
      for (std::size_t b = 0; b < a; ++b)
        EXPECT_TRUE(boxes[a].x + boxes[a].w <= boxes[b].x || boxes[b].x + boxes[b].w <= boxes[a].x ||
                    boxes[a].y + boxes[a].h <= boxes[b].y || boxes[b].y + boxes[b].h <= boxes[a].y);
    }
    EXPECT_EQ(cells.size(), boxes.size());
  }
}

TEST(Scene, DescriptionsNameEverything) {
  Scene scene;
  scene.objects = {{.concept_index = 0, .box = {2, 3, 30, 30}}, {.shape = 1, .colour = 4, .box = {75, 40, 30, 30}}};
  scene.text = {TextKind::chinese_word, "福", 20, 0, {40, 80, 26, 26}};
  EXPECT_EQ(describe(scene, Language::english), "top left: monkey. right: blue square. bottom: text \"福\".");
  EXPECT_EQ(describe(scene, Language::chinese), "左上：猴子。右：蓝色方形。下：文字“福”。");
}

TEST(Concepts, NamesAreDistinctAndEnough) {
  EXPECT_GE(training_concepts(), 120);
  std::set<std::string_view> english, chinese;
  std::set<char32_t> codes;
  for (const Concept& c : concepts()) {
    EXPECT_TRUE(english.insert(c.name_en).second) << c.name_en;
    EXPECT_TRUE(chinese.insert(c.name_zh).second) << c.name_zh;
    EXPECT_TRUE(codes.insert(c.code).second) << c.name_en;
  }
  for (int i = 0; i < std::ssize(concepts()); ++i)
    EXPECT_EQ(concepts()[static_cast<std::size_t>(i)].held_out, i >= training_concepts());
  EXPECT_EQ(plural("mouse"), "mice");
  EXPECT_EQ(plural("cherry"), "cherries");
  EXPECT_EQ(plural("fox"), "foxes");
  EXPECT_EQ(plural("key"), "keys");
  EXPECT_EQ(with_article("apple"), "an apple");
  EXPECT_EQ(with_article("unicorn"), "a unicorn");
}

}  // namespace
}  // namespace skymm
