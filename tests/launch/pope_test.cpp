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
  EXPECT_THAT(format_pope({score}), AllOf(HasSubstr("random"), HasSubstr("60.0%"), HasSubstr("66.7%")));
  const PopeScore never = score_pope(split, {"no", "no", "no", "no", "no"});
  EXPECT_DOUBLE_EQ(never.precision(), 0);
  EXPECT_DOUBLE_EQ(never.f1(), 0);
  EXPECT_THAT(error_of([&] { score_pope(split, {"no"}); }), HasSubstr("1 answers to 5 questions"));
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
