#include "launch/evaluation/pope.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.hpp"
#include "io/file.hpp"
#include "support/text.hpp"

namespace skymm {
namespace {

using ::testing::AllOf;
using testing::error_of;
using ::testing::HasSubstr;
using testing::TemporaryFolder;

TEST(PopeAnswer, FollowsTheRule) {
  for (const char* no :
       {"no", "No", "No, there is no cat", "no.", "There is not", "No,", ",no", "It is, not", "Yes no"}) {
    EXPECT_FALSE(pope_says_yes(no)) << no;
  }
  for (const char* yes :
       {"yes", "Yes.", "", "NO", "know", "nothing", "Yes. There is no dog", "not,hing", "None", "No!"}) {
    EXPECT_TRUE(pope_says_yes(yes)) << yes;
  }
}

TEST(PopeAnswer, InChineseFollowsARuleOfItsOwn) {
  const auto yes = [](const char* answer) { return pope_says_yes(answer, PopeRule::chinese); };
  for (const char* no : {"否", "否。", "没有", "没有，图中只有饺子。", "不是", "不，没有", " 否", "图中没有风筝。",
                         "这张图片里没有风筝", "图里不存在风筝！", "No", "no.", "在图里，没有"}) {
    EXPECT_FALSE(yes(no)) << no;
  }
  for (const char* text : {"是", "是的。", "有", "有。没有狗。", "是的，不过很小", "图中有风筝", "", "yes"})
    EXPECT_TRUE(yes(text)) << text;
  // POPE's own rule knows none of these words.
  EXPECT_TRUE(pope_says_yes("否"));
  EXPECT_TRUE(pope_says_yes("没有"));
}

TEST(PopeScore, CountsYesAsThePositive) {
  PopeSplit split{"random", {}};
  for (const bool yes : {true, true, true, false, false}) split.questions.push_back({.yes = yes});
  const PopeScore score = score_pope(split, {"yes", "yes", "no", "yes", "no"});
  EXPECT_EQ(score.true_yes, 2);
  EXPECT_EQ(score.false_no, 1);
  EXPECT_EQ(score.false_yes, 1);
  EXPECT_EQ(score.true_no, 1);
  EXPECT_DOUBLE_EQ(score.accuracy(), 0.6);
  EXPECT_DOUBLE_EQ(score.precision(), 2.0 / 3);
  EXPECT_DOUBLE_EQ(score.recall(), 2.0 / 3);
  EXPECT_DOUBLE_EQ(score.f1(), 2.0 / 3);
  EXPECT_DOUBLE_EQ(score.yes_ratio(), 0.6);
  EXPECT_THAT(format_pope({score}),
              AllOf(HasSubstr("random"), HasSubstr("60.0%"), HasSubstr("66.7%"), HasSubstr("rule: official")));
  const PopeScore never = score_pope(split, {"no", "no", "no", "no", "no"});
  EXPECT_DOUBLE_EQ(never.precision(), 0);
  EXPECT_DOUBLE_EQ(never.f1(), 0);
  EXPECT_THAT(error_of([&] { score_pope(split, {"no"}); }), HasSubstr("1 answers to 5 questions"));
}

TEST(PopeScore, ChineseAnswersAreNotAllYes) {
  PopeSplit split{"random", {{.yes = true}, {.yes = false}}, PopeRule::chinese};
  const PopeScore score = score_pope(split, {"是", "没有"});
  EXPECT_DOUBLE_EQ(score.accuracy(), 1);
  EXPECT_DOUBLE_EQ(score.yes_ratio(), 0.5);
  EXPECT_THAT(format_pope({score}), HasSubstr("rule: chinese (not official)"));
}

std::string line_of(const std::string& text, const std::string& label, const std::string& more = "") {
  return fmt::format(R"({{"question_id": 1, "image": "a.jpg", "text": "{}", "label": "{}"{}}})", text, label, more) +
         "\n";
}

TEST(PopeFiles, LabelsOrQuestionsTellTheRule) {
  const TemporaryFolder folder;
  const auto read = [&](const std::string& lines) {
    write_file(folder.file("x.json"), lines);
    return read_pope_splits(folder.file("x.json"))[0];
  };
  const PopeSplit labels = read(line_of("Is there a cat?", "否") + line_of("Is there a cat?", "是"));
  EXPECT_EQ(labels.rule, PopeRule::chinese);
  EXPECT_FALSE(labels.questions[0].yes);
  EXPECT_TRUE(labels.questions[1].yes);
  EXPECT_EQ(read(line_of("图里有 iPhone 吗？", "no")).rule, PopeRule::chinese);
  EXPECT_EQ(read(line_of("Is there the word 福 in the image?", "no")).rule, PopeRule::official);
  EXPECT_THAT(error_of([&] { read(line_of("Is there a cat?", "否") + line_of("Is there a cat?", "yes")); }),
              HasSubstr("x.json:2: some labels are yes or no"));
  write_file(folder.file("random.json"), line_of("Is there a cat?", "yes"));
  write_file(folder.file("popular.json"), line_of("图里有猫吗？", "yes"));
  EXPECT_THAT(error_of([&] { read_pope_splits(folder.path()); }),
              HasSubstr("of another language than the split random"));
}

TEST(PopeFiles, ResultsComeBack) {
  const TemporaryFolder folder;
  PopeResults results{{"popular", {}, PopeRule::chinese}, {"是\n\t\"的\"", "\xff没有"}};
  results.split.questions = {{"7", "a.jpg", "图里有猫吗？", true}, {"\"x\"", "b.jpg", "图里有狗吗？", false}};
  write_pope_results(folder.file("popular.jsonl"), results);
  const std::vector<PopeResults> again = read_pope_results(folder.path());
  ASSERT_EQ(again.size(), 1U);
  EXPECT_EQ(again[0].split.name, "popular");
  EXPECT_EQ(again[0].split.rule, PopeRule::chinese);
  ASSERT_EQ(again[0].answers.size(), 2U);
  EXPECT_EQ(again[0].answers[0], results.answers[0]);
  EXPECT_EQ(again[0].answers[1], "\uFFFD没有");
  EXPECT_EQ(again[0].split.questions[1].id, "\"x\"");
  EXPECT_EQ(again[0].split.questions[1].text, "图里有狗吗？");
  EXPECT_TRUE(again[0].split.questions[0].yes);
  EXPECT_FALSE(again[0].split.questions[1].yes);
  write_file(folder.file("popular.jsonl"), line_of("Is there a cat?", "yes"));
  EXPECT_THAT(error_of([&] { read_pope_results(folder.path()); }), HasSubstr("popular.jsonl:1: no text \"answer\""));
  write_file(folder.file("popular.jsonl"), line_of("Is there a cat?", "yes", R"(, "answer": "No.")"));
  EXPECT_EQ(read_pope_results(folder.path())[0].answers[0], "No.");
}

TEST(PopeFiles, SplitsByName) {
  const TemporaryFolder folder;
  const std::string line = R"({"question_id": 1, "image": "a.jpg", "text": "Is there a cat?", "label": "yes"})";
  write_file(folder.file("coco_pope_random.json"), line + "\n\n" + line + "\n");
  write_file(folder.file("coco_pope_adversarial.json"), line + "\n");
  write_file(folder.file("notes.json"), "?");
  const auto splits = read_pope_splits(folder.path());
  ASSERT_EQ(splits.size(), 2U);
  EXPECT_EQ(splits[0].name, "random");
  ASSERT_EQ(splits[0].questions.size(), 2U);
  EXPECT_EQ(splits[0].questions[1].image, "a.jpg");
  EXPECT_EQ(splits[0].questions[1].id, "1");
  EXPECT_TRUE(splits[0].questions[1].yes);
  EXPECT_EQ(splits[1].name, "adversarial");
  EXPECT_EQ(read_pope_splits(folder.file("coco_pope_random.json"))[0].questions.size(), 2U);

  const auto error = [&](const std::string& text) {
    write_file(folder.file("x.json"), text);
    return error_of([&] { read_pope_splits(folder.file("x.json")); });
  };
  EXPECT_THAT(error(line + "\n{}\n"), HasSubstr("x.json:2: no text \"image\""));
  EXPECT_THAT(error("no json"), HasSubstr("x.json:1"));
  EXPECT_THAT(error(R"({"image": "a", "text": "b", "label": "maybe"})"), HasSubstr("'maybe' is neither"));
  EXPECT_THAT(error(""), HasSubstr("holds no questions"));
  write_file(folder.file("pope_random_2.json"), line);
  EXPECT_THAT(error_of([&] { read_pope_splits(folder.path()); }), HasSubstr("2 files of the split random"));
}

}  // namespace
}  // namespace skymm
