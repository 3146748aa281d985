#include "launch/evaluation/mme.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "io/file.hpp"
#include "support/text.hpp"

namespace skymm {
namespace {

using ::testing::AllOf;
using testing::error_of;
using ::testing::HasSubstr;
using testing::TemporaryFolder;

void put(const std::string& path, const std::string& text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  write_file(path, text);
}

TEST(MmeResponse, FollowsTheOfficialRule) {
  const auto read = [](const char* response) { return read_response(response, MmeRule::official); };
  for (const char* yes : {"yes", "Yes", "YES.", "Yes, it is", " yes", "ayes", "，yes", "yes no"}) {
    EXPECT_EQ(read(yes), MmeVerdict::yes) << yes;
  }
  for (const char* no : {"no", "No.", "no, it is red", "NO", "not sure", "know", "I no", "  no", "\tno", "，，no"}) {
    EXPECT_EQ(read(no), MmeVerdict::no) << no;
  }
  for (const char* other :
       {"", " ", "  yes", "maybe", "The answer is yes", "ye", "y", "是", "否", "   no", "n o", "，，yes"}) {
    EXPECT_EQ(read(other), MmeVerdict::other) << other;
  }
}

TEST(MmeResponse, ReadsChineseByItsOwnRule) {
  const auto read = [](const char* response) { return read_response(response, MmeRule::chinese); };
  for (const char* yes : {"是", "是的。", " 是", "答案是"}) EXPECT_EQ(read(yes), MmeVerdict::yes) << yes;
  for (const char* no : {"否", "否。", "不是", "不，是红色"}) EXPECT_EQ(read(no), MmeVerdict::no) << no;
  for (const char* other : {"", "红色", "yes", "no", "我认为答案是"}) {
    EXPECT_EQ(read(other), MmeVerdict::other) << other;
  }
}

TEST(MmeScore, CountsQuestionsAndPictures) {
  const MmeScore score = score_mme("count", {{"a", "q", "Yes", "yes"},
                                             {"a", "q", "No", "No."},
                                             {"b", "q", "Yes", "Yes, two"},
                                             {"b", "q", "No", "yes"},
                                             {"c", "q", "No", "perhaps"},
                                             {"c", "q", "No", "not sure"}});
  EXPECT_EQ(score.rule, MmeRule::official);
  EXPECT_EQ(score.questions, 6);
  EXPECT_EQ(score.pictures, 3);
  EXPECT_DOUBLE_EQ(score.acc(), 4.0 / 6);
  EXPECT_DOUBLE_EQ(score.acc_plus(), 1.0 / 3);
  EXPECT_DOUBLE_EQ(score.score(), 100);
  EXPECT_DOUBLE_EQ(score.yes_ratio(), 0.5);
  EXPECT_EQ(score.said_other, 1);
  EXPECT_THAT(error_of([] {
                score_mme("count", {{"a", "q", "Yes", ""}, {"a", "q", "否", ""}});
              }),
              HasSubstr("one language"));
}

TEST(MmeScore, SumsPerceptionAndCognition) {
  const auto task = [](const char* name, std::int64_t right) { return MmeScore{name, MmeRule::official, 4, right, 2}; };
  const std::vector<MmeScore> scores = {task("existence", 4), task("OCR", 2), task("code_reasoning", 1)};
  EXPECT_DOUBLE_EQ(sum_mme(scores, MmeGroup::perception).score, 150);
  EXPECT_EQ(sum_mme(scores, MmeGroup::perception).tasks, 2);
  EXPECT_EQ(sum_mme(scores, MmeGroup::perception).all_tasks, 10);
  EXPECT_DOUBLE_EQ(sum_mme(scores, MmeGroup::cognition).score, 25);
  EXPECT_EQ(sum_mme(scores, MmeGroup::cognition).all_tasks, 4);
  EXPECT_THAT(format_mme(scores), AllOf(HasSubstr("150.0 of 400 (2 of 10 tasks)"), HasSubstr("rule: official")));
}

// As many pictures as MME has, answers in all the wordings that the rule tells apart; the sums are counted here by the
// way the answers were made.
TEST(MmeScore, FullSizeSetFollowsTheRuleExactly) {
  const std::vector<std::pair<std::string, int>> tasks = {{"existence", 30},
                                                          {"count", 30},
                                                          {"position", 30},
                                                          {"color", 30},
                                                          {"posters", 147},
                                                          {"celebrity", 170},
                                                          {"scene", 200},
                                                          {"landmark", 200},
                                                          {"artwork", 200},
                                                          {"OCR", 20},
                                                          {"commonsense_reasoning", 70},
                                                          {"numerical_calculation", 20},
                                                          {"text_translation", 20},
                                                          {"code_reasoning", 20}};
  const std::vector<std::string> as_yes = {"Yes.", "yes", "YES", " Yes", "Yes, there is", "yes no"};
  const std::vector<std::string> as_no = {"no, ...", "No", "NO.", "not sure", "know", " no", "None"};
  const std::vector<std::string> as_other = {"", "  yes", "maybe", "是", "否", "The answer is yes", "unknown", "   no"};
  const TemporaryFolder folder;
  int questions = 0, pictures = 0;
  double perception = 0, cognition = 0;
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    const auto& [name, count] = tasks[t];
    std::vector<MmeResult> results;
    int right = 0, both = 0;
    for (int i = 0; i < count; ++i) {
      // 0 right, 1 the opposite, 2 other.
      const int kinds[] = {(i * 7 + static_cast<int>(t)) % 5 < 3 ? 0 : i % 2 + 1,
                           (i * 3) % 4 < 2 ? 0 : (i + 1) % 2 + 1};
      for (int q = 0; q < 2; ++q) {
        const bool says_yes = (q == 0) == (kinds[q] == 0);
        const auto& wordings = kinds[q] == 2 ? as_other : says_yes ? as_yes : as_no;
        results.push_back(
            {std::to_string(i), "?", q == 0 ? "Yes" : "No", wordings[static_cast<std::size_t>(i) % wordings.size()]});
        right += kinds[q] == 0;
      }
      both += kinds[0] == 0 && kinds[1] == 0;
    }
    write_mme_results(folder.file(name + ".txt"), results);
    questions += 2 * count, pictures += count;
    const double score = 100.0 * right / (2.0 * count) + 100.0 * both / count;
    (t < 10 ? perception : cognition) += score;
    EXPECT_NEAR(score_mme(name, results).score(), score, 1e-9) << name;
  }
  const std::vector<MmeScore> scores = score_mme_folder(folder.path());
  EXPECT_EQ(total_mme(scores).questions, questions);
  EXPECT_EQ(questions, 2374);
  EXPECT_EQ(pictures, 1187);
  EXPECT_NEAR(sum_mme(scores, MmeGroup::perception).score, perception, 1e-9);
  EXPECT_NEAR(sum_mme(scores, MmeGroup::cognition).score, cognition, 1e-9);
  EXPECT_EQ(sum_mme(scores, MmeGroup::perception).tasks, 10);
}

class MmeFolder : public ::testing::Test {
 protected:
  std::string error() const {
    return error_of([&] { read_mme(folder_.path()); });
  }
  TemporaryFolder folder_;
};

TEST_F(MmeFolder, ReadsBothLayouts) {
  put(folder_.file("count/b.png"), "-");
  put(folder_.file("count/b.txt"), "Is it b? Please answer yes or no.\tNo\r\nTwo?\tNo\r\n\n");
  put(folder_.file("count/a.jpg"), "-");
  put(folder_.file("count/a.txt"), "Is it a?\tYes\nTwo?\tNo");
  put(folder_.file("scene/images/7.jpg"), "-");
  put(folder_.file("scene/questions_answers_YN/7.txt"), "图里有饺子吗？\t是\n图里有熊猫吗？\t否\n");
  put(folder_.file("notes/read.me"), "-");
  const std::vector<MmeTask> tasks = read_mme(folder_.path());
  ASSERT_EQ(tasks.size(), 2U);
  EXPECT_EQ(tasks[0].name, "count");
  ASSERT_EQ(tasks[0].questions.size(), 4U);
  EXPECT_EQ(tasks[0].questions[0].picture, "a.jpg");
  EXPECT_EQ(tasks[0].questions[2].path, folder_.file("count/b.png"));
  EXPECT_EQ(tasks[0].questions[2].question, "Is it b? Please answer yes or no.");
  EXPECT_EQ(tasks[0].questions[3].truth, "No");
  EXPECT_EQ(tasks[1].questions[0].path, folder_.file("scene/images/7.jpg"));
  EXPECT_EQ(tasks[1].questions[0].truth, "是");
}

TEST_F(MmeFolder, PartsOfATaskAreAskedAndScoredButInNoSum) {
  for (const char* task : {"position", "position_between", "position_above_below", "positions", "position_"}) {
    std::filesystem::create_directories(folder_.file(task));
    put(folder_.file(std::string(task) + "/a.png"), "-");
    put(folder_.file(std::string(task) + "/a.txt"), "One?\tYes\nTwo?\tNo\n");
  }
  const std::vector<MmeTask> tasks = read_mme(folder_.path());
  ASSERT_EQ(tasks.size(), 3U);
  EXPECT_EQ(tasks[0].name, "position");
  EXPECT_EQ(tasks[1].name, "position_above_below");
  EXPECT_EQ(tasks[2].name, "position_between");
  const TemporaryFolder results;
  for (const MmeTask& task : tasks)
    write_mme_results(results.file(task.name + ".txt"),
                      {{"a.png", "One?", "Yes", "yes"}, {"a.png", "Two?", "No", "no"}});
  const std::vector<MmeScore> scores = score_mme_folder(results.path());
  ASSERT_EQ(scores.size(), 3U);
  EXPECT_EQ(scores[2].task, "position_between");
  EXPECT_DOUBLE_EQ(scores[2].score(), 200);
  EXPECT_EQ(sum_mme(scores, MmeGroup::perception).tasks, 1);
  EXPECT_DOUBLE_EQ(sum_mme(scores, MmeGroup::perception).score, 200);
}

TEST_F(MmeFolder, SaysWhatIsWrong) {
  EXPECT_THAT(error(), HasSubstr("holds no task of MME; it should hold some of the folders existence, count"));
  EXPECT_THAT(error_of([&] { read_mme(folder_.file("nowhere")); }), HasSubstr("nowhere is no folder"));
  std::filesystem::create_directories(folder_.file("count"));
  EXPECT_THAT(error(), HasSubstr("holds no questions (.txt)"));
  put(folder_.file("count/a.txt"), "One?\tYes\nTwo?\tNo\n");
  EXPECT_THAT(error(), AllOf(HasSubstr("count/a.txt has no picture"), HasSubstr(".jpg")));
  put(folder_.file("count/a.png"), "-");
  EXPECT_EQ(read_mme(folder_.path()).size(), 1U);
  put(folder_.file("count/a.txt"), "One?\tYes\n");
  EXPECT_THAT(error(), HasSubstr("holds 1 questions"));
  put(folder_.file("count/a.txt"), "One?\tYes\nTwo? No\n");
  EXPECT_THAT(error(), HasSubstr("'Two? No' is not a question, a tab and its answer"));
  put(folder_.file("count/a.txt"), "One?\tYes\nTwo?\tPerhaps\n");
  EXPECT_THAT(error(), HasSubstr("'Perhaps' is neither"));
}

TEST(MmeResults, ComeBackAsWritten) {
  const TemporaryFolder folder;
  const std::string path = folder.file("count.txt");
  write_mme_results(path, {{"a.png", "One?", "Yes", "yes,\tor\nno"}, {"a.png", "图？", "No", ""}});
  EXPECT_EQ(read_file(path), "a.png\tOne?\tYes\tyes, or no\na.png\t图？\tNo\t\n");
  const std::vector<MmeResult> results = read_mme_results(path);
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[0].response, "yes, or no");
  EXPECT_EQ(results[1].question, "图？");
  EXPECT_EQ(results[1].response, "");
  const std::vector<MmeScore> scores = score_mme_folder(folder.path());
  ASSERT_EQ(scores.size(), 1U);
  EXPECT_EQ(scores[0].right, 1);
}

TEST(MmeResults, DamagedFilesAreRefused) {
  const TemporaryFolder folder;
  const std::string path = folder.file("OCR.txt");
  const auto error = [&](const std::string& text) {
    put(path, text);
    return error_of([&] { read_mme_results(path); });
  };
  EXPECT_THAT(error("a\tq\tYes\tyes\na\tq\tN"), AllOf(HasSubstr("OCR.txt:2: 3 fields"), HasSubstr("truncated")));
  EXPECT_THAT(error("a\tq\tYes\tyes\na\tq\tNo\tno\nb\tq\tNo\tno\n"), HasSubstr("3 lines, an odd number"));
  EXPECT_THAT(error("a\tq\tYes\tyes\nb\tq\tNo\tno\nb\tq\tNo\tno\n"), HasSubstr("OCR.txt:2: a pair of lines"));
  EXPECT_THAT(error("a\tq\tyeah\tyes\n"), HasSubstr("the truth 'yeah'"));
  EXPECT_THAT(error(""), HasSubstr("holds no results"));
  EXPECT_THAT(error_of([&] { score_mme_folder(folder.file("nowhere")); }), HasSubstr("is no folder"));
  std::filesystem::remove(path);
  EXPECT_THAT(error_of([&] { score_mme_folder(folder.path()); }), HasSubstr("existence"));
}

}  // namespace
}  // namespace skymm
