#include "launch/evaluation/mmbench.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "io/base64.hpp"
#include "io/file.hpp"
#include "support/text.hpp"

namespace skymm {
namespace {

using ::testing::AllOf;
using testing::error_of;
using ::testing::HasSubstr;
using testing::TemporaryFolder;

const std::vector<std::string> fruits = {"Apple", "Banana", "Pineapple", "a fig"};

TEST(MmbenchChoice, TakesTheOneLetterThatStandsAlone) {
  const auto read = [](const char* answer) { return read_choice(answer, {"x1", "x2", "x3", "x4"}); };
  for (const char* b : {"B", "B.", "(B)", "[B]", "{B}", " B\n", "Option B", "It must be B.", "B, B",
                        "The right one of these four is clearly B: really"}) {
    EXPECT_EQ(read(b), 'B') << b;
  }
  EXPECT_EQ(read("A"), 'A');
  EXPECT_EQ(read("A it is"), 'A');
  EXPECT_EQ(read("A man in a hat"), '\0');  // an article
  EXPECT_EQ(read("B or C"), '\0');          // two letters
  EXPECT_EQ(read("E"), '\0');               // no such option
  EXPECT_EQ(read("b"), '\0');
  EXPECT_EQ(read("B is it, as far as anyone here can tell"), '\0');  // not among the last words
  EXPECT_EQ(read(""), '\0');
  EXPECT_EQ(read_choice("C", {"x1", "x2"}), '\0');
}

TEST(MmbenchChoice, ThenWhatFollowsAnswerIs) {
  const auto read = [](const char* answer) { return read_choice(answer, {"x1", "x2", "x3", "x4"}); };
  EXPECT_EQ(read("The answer is C because B shows something that is not at all in the picture"), 'C');
  EXPECT_EQ(read("So the Answer is: (A). A man can be seen there"), 'A');
  EXPECT_EQ(read("The answer is perhaps one of those in the first row, A then"), '\0');
}

TEST(MmbenchChoice, ThenTheOneOptionContained) {
  EXPECT_EQ(read_choice("It is a banana.", fruits), 'B');
  EXPECT_EQ(read_choice("A FIG lies there", fruits), 'D');
  EXPECT_EQ(read_choice("pineapple", fruits), '\0');  // contains Apple too
  EXPECT_EQ(read_choice("a pear", fruits), '\0');
  EXPECT_EQ(read_choice("一只熊猫", {"熊猫", "饺子"}), 'A');
}

MmbenchQuestion question(std::int64_t index, const char* l2, char answer = 'A', const char* l3 = "") {
  return {.index = index, .options = {"x1", "x2"}, .answer = answer, .category = l3, .l2_category = l2};
}

TEST(MmbenchScore, ARightQuestionIsRightInEveryRotation) {
  const std::vector<MmbenchQuestion> questions = {question(5, "LR"), question(6, "CP"), question(1000005, "LR", 'B'),
                                                  question(1000006, "CP", 'B'), question(7, "odd")};
  const MmbenchScores scores = score_mmbench(questions, {"A", "A", "B", "A", "neither"});
  EXPECT_EQ(scores.all.questions, 3);
  EXPECT_EQ(scores.all.right, 1);
  EXPECT_EQ(scores.all.rotations, 5);
  EXPECT_EQ(scores.all.rotations_right, 3);
  EXPECT_EQ(scores.unread, 1);
  ASSERT_EQ(scores.l2.size(), 3U);
  EXPECT_EQ(scores.l2[0].name, "CP");
  EXPECT_EQ(scores.l2[0].right, 0);
  EXPECT_EQ(scores.l2[1].name, "LR");
  EXPECT_DOUBLE_EQ(scores.l2[1].accuracy(), 1);
  EXPECT_EQ(scores.l2[2].name, "odd");
  EXPECT_THAT(format_mmbench(scores), AllOf(HasSubstr("33.3%"), HasSubstr("60.0%"), HasSubstr("1 of 5 answers")));
  EXPECT_THAT(error_of([&] {
                score_mmbench({question(5, "LR"), question(1000005, "CP")}, {"A", "A"});
              }),
              HasSubstr("question 5 are in the categories LR () and CP ()"));
}

TEST(MmbenchScore, ByL2AndL3Ability) {
  const std::vector<MmbenchQuestion> questions = {
      question(1, "RR", 'A', "social"), question(2, "CP", 'A', "topic"), question(3, "CP", 'B', "scene"),
      question(4, "CP", 'A', "scene"),  question(5, "RR", 'A', "scene"), question(1000005, "RR", 'B', "scene")};
  const MmbenchScores scores = score_mmbench(questions, {"A", "A", "B", "B", "A", "none"});
  ASSERT_EQ(scores.l3.size(), 4U);
  const auto expect = [&](std::size_t place, const char* l2, const char* name, std::int64_t asked, std::int64_t right) {
    EXPECT_EQ(scores.l3[place].l2, l2);
    EXPECT_EQ(scores.l3[place].name, name);
    EXPECT_EQ(scores.l3[place].questions, asked);
    EXPECT_EQ(scores.l3[place].right, right);
  };
  expect(0, "CP", "scene", 2, 1);
  expect(1, "CP", "topic", 1, 1);
  expect(2, "RR", "scene", 1, 0);
  expect(3, "RR", "social", 1, 1);
  ASSERT_EQ(scores.l2.size(), 2U);
  EXPECT_EQ(scores.l2[0].questions, 3);
  EXPECT_EQ(scores.chosen, (std::array<std::int64_t, 4>{3, 2, 0, 0}));
  EXPECT_THAT(format_mmbench(scores), AllOf(HasSubstr("\n  scene"), HasSubstr("chosen: A 50.0%, B 33.3%")));
  EXPECT_THAT(error_of([&] {
                score_mmbench({question(5, "LR", 'A', "a"), question(1000005, "LR", 'A', "b")}, {"A", "A"});
              }),
              HasSubstr("LR (a) and LR (b)"));
}

TEST(MmbenchResultFiles, ComeBack) {
  const TemporaryFolder folder;
  MmbenchResults results;
  results.questions = {question(3, "CP", 'B', "scene"), question(1000003, "CP", 'A', "scene")};
  for (MmbenchQuestion& each : results.questions) each.question = "Which\tof \"these\"?", each.hint = "Two\nlines";
  results.answers = {"The answer is\n\"B\"", ""};
  write_mmbench_results(folder.file("en.tsv"), results);
  const MmbenchResults again = read_mmbench_results(folder.file("en.tsv"));
  ASSERT_EQ(again.questions.size(), 2U);
  EXPECT_EQ(again.answers, results.answers);
  EXPECT_EQ(again.questions[0].question, results.questions[0].question);
  EXPECT_EQ(again.questions[0].hint, "Two\nlines");
  EXPECT_EQ(again.questions[0].options, results.questions[0].options);
  EXPECT_EQ(again.questions[1].index, 1000003);
  EXPECT_EQ(again.questions[1].answer, 'A');
  EXPECT_EQ(again.questions[1].category, "scene");
  // Another tool's table: no picture, the columns in its own order.
  write_file(folder.file("other.tsv"), "prediction\tquestion\tindex\tA\tB\tanswer\nB\tWhich?\t5\tred\tblue\tB\n");
  const MmbenchResults other = read_mmbench_results(folder.file("other.tsv"));
  EXPECT_EQ(score_mmbench(other.questions, other.answers).all.right, 1);
  write_file(folder.file("empty.tsv"), "prediction\tquestion\tindex\tA\tB\tanswer\n");
  EXPECT_THAT(error_of([&] { read_mmbench_results(folder.file("empty.tsv")); }), HasSubstr("holds no results"));
}

TEST(MmbenchTables, NamesTellTheLanguage) {
  const TemporaryFolder folder;
  const auto names = [&] {
    std::string text;
    for (const LanguageSet& set : mmbench_tables(folder.path()))
      text += fmt::format("{}={} ", set.language, std::filesystem::path(set.path).filename().string());
    return text;
  };
  EXPECT_THAT(error_of(names), HasSubstr("holds no table"));
  write_file(folder.file("mmbench_dev_20230712.tsv"), "");
  EXPECT_EQ(names(), "=mmbench_dev_20230712.tsv ");
  write_file(folder.file("mmbench_dev_cn_20231003.tsv"), "");
  write_file(folder.file("en.tsv"), "");
  EXPECT_EQ(names(), "en=en.tsv zh=mmbench_dev_cn_20231003.tsv ");
  write_file(folder.file("zh.tsv"), "");
  EXPECT_THAT(error_of(names), HasSubstr("2 tables (.tsv) of the language zh"));
  EXPECT_EQ(mmbench_tables(folder.file("zh.tsv"))[0].language, "");
}

TEST(MmbenchScore, AbilitiesComeInOneOrderUnderEitherName) {
  const MmbenchScores scores =
      score_mmbench({question(1, "attribute_reasoning"), question(2, "finegrained_perception (cross-instance)"),
                     question(3, "finegrained_perception (instance-level)"), question(4, "coarse_perception")},
                    {"A", "A", "A", "A"});
  std::string order;
  for (const MmbenchScore& score : scores.l2)
    order += score.name.substr(0, 1) + score.name.substr(score.name.size() - 3);
  EXPECT_EQ(order, "cionfel)fce)aing");
}

const std::string header = "index\tquestion\thint\tA\tB\tC\tD\tanswer\tcategory\timage\tl2-category\n";

TEST(MmbenchTable, MakesRotationsWhereThereAreNone) {
  const TemporaryFolder folder;
  const std::string image = encode_base64(std::string(90, 'x'));
  write_file(folder.file("a.tsv"),
             header + "3\tWhich?\t\"Two\nlines\"\tred\tblue\tgreen\tnan\tB\tcolour\t" + image + "\tFP-S\n");
  const auto questions = read_mmbench_table(folder.file("a.tsv"), [](std::size_t i) { return i == 1; });
  ASSERT_EQ(questions.size(), 3U);
  EXPECT_EQ(questions[0].prompt,
            "Hint: Two\nlines\nQuestion: Which?\nOptions:\nA. red\nB. blue\nC. green\n"
            "Please select the correct answer from the options above. \n");
  EXPECT_EQ(questions[1].options, (std::vector<std::string>{"blue", "green", "red"}));
  EXPECT_EQ(questions[1].index, 1000003);
  EXPECT_EQ(std::string({questions[0].answer, questions[1].answer, questions[2].answer}), "BAC");
  EXPECT_EQ(questions[0].image, "");
  EXPECT_EQ(questions[1].image, std::string(90, 'x'));
}

TEST(MmbenchTable, TakesItsOwnRotationsAndSaysWhatIsWrong) {
  const TemporaryFolder folder;
  const std::string image = encode_base64(std::string(90, 'x'));
  const auto read = [&](const std::string& rows) {
    write_file(folder.file("a.tsv"), header + rows);
    return read_mmbench_table(folder.file("a.tsv"), [](std::size_t) { return true; });
  };
  const std::string row = "3\tWhich?\tnan\tred\tblue\tnan\tnan\tB\tcolour\t" + image + "\tFP-S\n";
  const auto questions = read(row + "1000003\tWhich?\tnan\tblue\tred\tnan\tnan\tA\tcolour\t3\tFP-S\n");
  ASSERT_EQ(questions.size(), 2U);
  EXPECT_EQ(questions[1].image, questions[0].image);
  EXPECT_EQ(questions[1].answer, 'A');
  EXPECT_THAT(error_of([&] { read(row + "4\tWhich?\tnan\tred\tblue\tnan\tnan\tnan\tcolour\t3\tFP-S\n"); }),
              AllOf(HasSubstr("a.tsv:3"), HasSubstr("does not tell the answer")));
  EXPECT_THAT(error_of([&] { read("4\tWhich?\tnan\tred\tblue\tnan\tnan\tB\tcolour\t3\tFP-S\n"); }),
              HasSubstr("a.tsv:2: it has no picture"));
  EXPECT_THAT(error_of([&] { read("4\tWhich?\n"); }), HasSubstr("2 fields instead of 11"));
  EXPECT_THAT(error_of([&] { read(""); }), HasSubstr("holds no questions"));
  write_file(folder.file("b.tsv"), "index\tquestion\n");
  EXPECT_THAT(error_of([&] { MmbenchTable table(folder.file("b.tsv")); }), HasSubstr("no column 'image'"));
}

}  // namespace
}  // namespace skymm
