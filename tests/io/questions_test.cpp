#include "io/picturebook/questions.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "io/picturebook/choices.hpp"
#include "io/picturebook/picturebook.hpp"
#include "io/picturebook/position.hpp"
#include "support/scene_truth.hpp"

namespace skymm {
namespace {

using testing::SceneTruth;

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
    const bool truth = SceneTruth(annotate(scene)).holds(question->text);
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
      EXPECT_EQ(SceneTruth(annotate(scene)).holds(question->text), answer);
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

class EveryGrade : public ::testing::TestWithParam<std::tuple<int, Language>> {};

TEST_P(EveryGrade, AnswersAreTrueEvenAndNotToldByTheQuestion) {
  const auto grade = static_cast<PositionGrade>(std::get<0>(GetParam()));
  const Language language = std::get<1>(GetParam());
  const std::string yes = language == Language::chinese ? "是" : "yes";
  constexpr int asked = 2000;
  int positive = 0;
  std::map<char, std::pair<int, int>> by_word;  // yes and no, by what is asked: left or right, up or down
  for (int i = 0; i < asked; ++i) {
    Random random(9, static_cast<std::uint64_t>(grade), static_cast<std::uint64_t>(i));
    const Scene scene = random_scene_for(grade, random);
    const auto question = yes_no_question(scene, grade, language, random);
    ASSERT_TRUE(question);
    const bool truth = SceneTruth(annotate(scene)).holds(question->text);
    EXPECT_EQ(question->answer == yes, truth) << question->text << "\n" << annotate(scene);
    EXPECT_EQ(question->polarity, truth ? Polarity::positive : Polarity::negative);
    EXPECT_EQ(question->task, Task::position);
    positive += truth;
    for (const auto& [word, mark] : {std::pair{" left", 'l'},
                                     {" right", 'r'},
                                     {" above", 'a'},
                                     {" below", 'b'},
                                     {"左", 'l'},
                                     {"右", 'r'},
                                     {"上", 'a'},
                                     {"下", 'b'}})
      if (question->text.find(word) != std::string::npos) ++(truth ? by_word[mark].first : by_word[mark].second);
  }
  EXPECT_NEAR(positive, asked / 2, 95);  // more than four standard deviations
  EXPECT_EQ(by_word.empty(), grade == PositionGrade::between);
  for (const auto& [mark, counts] : by_word) EXPECT_NEAR(counts.first, counts.second, 180) << mark;
}

INSTANTIATE_TEST_SUITE_P(Questions, EveryGrade,
                         ::testing::Combine(::testing::Range(0, position_grade_count),
                                            ::testing::Values(Language::english, Language::chinese)));

TEST(Position, WhatOneCouldNotSeeIsNotAsked) {
  Scene scene;
  scene.objects = {{.concept_index = 0, .box = {2, 2, 30, 30}},
                   {.concept_index = 1, .box = {40, 40, 30, 30}},
                   {.concept_index = 2, .box = {78, 76, 30, 30}}};
  ASSERT_EQ(rows_of_three(scene).size(), 1U);
  EXPECT_EQ(rows_of_three(scene)[0].middle, &scene.objects[1]);
  EXPECT_EQ(things_in_quarters(scene).size(), 2U);  // the middle one reaches into all four
  EXPECT_EQ(quarter_of(scene.objects[2].box), 3);
  scene.objects[1].box = {76, 2, 30, 30};  // a corner
  EXPECT_TRUE(rows_of_three(scene).empty());
  EXPECT_EQ(pairs_apart(scene, false).size(), 4U);  // the second and third stand in one column
  scene.objects[1].concept_index = 0;               // which of the two?
  EXPECT_TRUE(pairs_apart(scene, false).empty());
  EXPECT_EQ(things_in_quarters(scene).size(), 1U);
}

class EveryChoice : public ::testing::TestWithParam<int> {};

TEST_P(EveryChoice, HasOneRightOptionAtAnEvenPlaceInBothLanguages) {
  const int task = GetParam();
  constexpr int asked = 600;
  std::map<std::size_t, std::vector<int>> places;  // by the number of options
  for (int i = 0; i < asked; ++i) {
    Random random(10, static_cast<std::uint64_t>(task), static_cast<std::uint64_t>(i));
    const Scene scene = random_scene_for_choice(task, random);
    const SceneTruth truth(annotate(scene));
    Random same = random;
    const auto english = choice_question(scene, task, Language::english, random),
               chinese = choice_question(scene, task, Language::chinese, same);
    ASSERT_TRUE(english && chinese);
    for (const auto& question : {*english, *chinese}) {
      const std::string& right = question.options.at(static_cast<std::size_t>(question.right));
      EXPECT_EQ(truth.right(question.text, question.options), std::vector<std::string>{right}) << question.text << "\n"
                                                                                               << annotate(scene);
      EXPECT_EQ(std::set(question.options.begin(), question.options.end()).size(), question.options.size());
    }
    EXPECT_EQ(english->right, chinese->right);
    EXPECT_EQ(english->options.size(), chinese->options.size());
    std::vector<int>& counts = places[english->options.size()];
    counts.resize(english->options.size());
    ++counts.at(static_cast<std::size_t>(english->right));
  }
  ASSERT_EQ(places.size(), 1U);
  for (const int count : places.begin()->second)
    EXPECT_NEAR(count, asked / static_cast<int>(places.begin()->first), 52);  // over four standard deviations
}

INSTANTIATE_TEST_SUITE_P(Questions, EveryChoice, ::testing::Range(0, static_cast<int>(choice_tasks().size())));

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
