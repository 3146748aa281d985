#include "launch/report/report.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <pugixml.hpp>
#include <regex>

#include "io/base64.hpp"
#include "io/file.hpp"
#include "io/image.hpp"
#include "launch/config/options.hpp"
#include "launch/report/html.hpp"
#include "launch/report/run_history.hpp"
#include "launch/training/run_start.hpp"

namespace skymm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;

class Report : public ::testing::Test {
 protected:
  Report() : dir_(::testing::TempDir() + "skymm_report") {
    std::filesystem::remove_all(dir_);
    std::filesystem::create_directories(dir_ + "/run/eval");
  }
  ~Report() override { std::filesystem::remove_all(dir_); }

  std::string put(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories(std::filesystem::path(dir_ + "/" + name).parent_path());
    write_file(dir_ + "/" + name, text);
    return dir_ + "/" + name;
  }
  std::string run() const { return dir_ + "/run"; }

  std::string dir_;
};

// As a browser would find it: the texts of all nodes that the XPath selects.
std::vector<std::string> select(const std::string& page, const char* path) {
  pugi::xml_document document;
  const pugi::xml_parse_result result = document.load_string(page.c_str(), pugi::parse_default | pugi::parse_ws_pcdata);
  EXPECT_TRUE(result) << result.description() << " at " << page.substr(static_cast<std::size_t>(result.offset), 80);
  std::vector<std::string> texts;
  for (const pugi::xpath_node& node : document.select_nodes(path)) {
    texts.push_back(pugi::xpath_query("string(.)").evaluate_string(node));
  }
  return texts;
}

std::string step_line(int step, double loss) {
  return fmt::format(
      "{{\"step\":{},\"loss\":{},\"seconds\":0.5,\"tokens\":100,\"images\":4,\"learning_rate\":0.001}}\n", step, loss);
}

ReportData full_report() {
  ReportData report;
  report.title = "A <run> & \"more\"";
  report.facts = {{"machine", "a<b>"}};
  report.notes = {"1 line is damaged"};
  report.plots = {{"loss <x>", "step", "loss", {{"train & raw", {{1, 4}, {2, 2}, {3, 1}}, true}}}};
  report.figures = {{"gates", "names", .7, .8, "of 10"}, {"gates", "retrieval", .9, .75, ""}};
  report.scores = {{"English", {{"existence", 10, .9, .8, 170, .5}}, {{"perception", 170, 200}}, "a note"}};
  report.samples = {
      {"English", "existence", encode_png(Image(3, 2)), {{"Is there a cat?", "Yes", "Yes", true}}},
      {"Chinese", "existence", "", {{"图里有猫吗？", "否", "<是>", false}, {"图里有狗吗？", "是", "是", true}}}};
  report.trainable = "lora trains";
  report.config = "[run]\ndir = <x>\n";
  return report;
}

TEST(Html, EscapesWhatMarkupWouldTake) {
  EXPECT_EQ(escape_html("<a href=\"x\">'&'</a>"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;");
  EXPECT_EQ(escape_html("猫 🐱"), "猫 🐱");
  EXPECT_EQ(escape_html(std::string("a\x01\xff"
                                    "b\0c",
                                    6)),
            "a\uFFFD\uFFFDb\uFFFDc");
}

TEST(Html, EncodesBase64) {  // RFC 4648, section 10
  EXPECT_EQ(encode_base64(""), "");
  EXPECT_EQ(encode_base64("f"), "Zg==");
  EXPECT_EQ(encode_base64("fo"), "Zm8=");
  EXPECT_EQ(encode_base64("foobar"), "Zm9vYmFy");
  EXPECT_EQ(encode_base64("\xff\xfe\xfd"), "//79");
}

TEST(Html, WritesNumbersForPeople) {
  EXPECT_EQ(grouped(0), "0");
  EXPECT_EQ(grouped(-1234567), "-1,234,567");
  EXPECT_EQ(number_text(0.41234), "0.4123");
  EXPECT_EQ(number_text(12345.6), "12,346");
  EXPECT_EQ(number_text(3.1e-5), "3.1e-5");
  EXPECT_EQ(duration_text(59.4), "59 s");
  EXPECT_EQ(duration_text(580), "9 min 40 s");
  EXPECT_EQ(duration_text(2 * 3600 + 300), "2 h 05 min");
}

TEST(Html, EmbedsPicturesAndShrinksLargeOnes) {
  EXPECT_THAT(image_source(encode_png(Image(2, 2))), HasSubstr("data:image/png;base64,iVBOR"));
  EXPECT_EQ(image_source("no picture"), "");
  EXPECT_EQ(image_source("\x89PNG broken", 4), "");
  EXPECT_THAT(image_source(encode_png(Image(1200, 600)), 100), HasSubstr("data:image/jpeg;base64,"));
}

TEST(Svg, TicksAreRoundAndInside) {
  EXPECT_THAT(linear_ticks(0, 1000, 5), ElementsAre(0, 200, 400, 600, 800, 1000));
  EXPECT_THAT(linear_ticks(3, 17, 4), ElementsAre(5, 10, 15));
  EXPECT_THAT(tick_labels(linear_ticks(-0.05, 0.31, 4)), ElementsAre("0", "0.1", "0.2", "0.3"));
  EXPECT_THAT(log_ticks(0.08, 9, 6), ElementsAre(0.1, 0.2, 0.5, 1, 2, 5));
  EXPECT_THAT(tick_labels(log_ticks(1e-4, 1e4, 4)),
              ElementsAre("0.0001", "0.001", "0.01", "0.1", "1", "10", "100", "1,000", "10,000"));
  EXPECT_GE(log_ticks(3, 4, 5).size(), 3U);  // no 1, 2 or 5 within
  EXPECT_THAT(tick_labels({2000, 2.5e6}), ElementsAre("2,000", "2.5M"));
  EXPECT_THAT(linear_ticks(1, 1, 5), ElementsAre(1));
}

TEST(Svg, SmoothingKeepsConstantsAndTheFirstPoint) {
  Points flat, noisy;
  for (int i = 0; i < 400; ++i) {
    flat.emplace_back(i, 3);
    noisy.emplace_back(i, i % 2);
  }
  for (const auto& point : smoothed(flat)) EXPECT_NEAR(point.second, 3, 1e-12);
  const Points result = smoothed(noisy);
  EXPECT_EQ(result.front(), noisy.front());
  EXPECT_NEAR(result[200].second, 0.5, 0.05);
  EXPECT_EQ(thinned(noisy, 100).size(), 100U);
  EXPECT_NEAR(thinned(noisy, 100)[7].second, 0.5, 1e-12);
}

TEST(Svg, ChoosesTheAxisThatFits) {
  EXPECT_TRUE(reads_better_as_log({"", "", "", {{"a", {{1, 8}, {2, 0.4}}}}}));
  EXPECT_FALSE(reads_better_as_log({"", "", "", {{"a", {{1, 2}, {2, 1}}}}}));
  EXPECT_FALSE(reads_better_as_log({"", "", "", {{"a", {{1, 8}, {2, 0}}}}}));
  EXPECT_FALSE(reads_better_as_log({"", "", "", {{"a", {{1, 8}, {2, 0.4}}}}, true}));
  EXPECT_FALSE(reads_better_as_log({"", "", "", {}}));
}

TEST(Svg, DrawsWhatIsFinite) {
  EXPECT_EQ(svg_of({"none", "x", "y", {{"a", {}}}}), "");
  EXPECT_EQ(svg_of({"nan", "x", "y", {{"a", {{1, NAN}}, true}}}), "");
  for (const Points& points : {Points{{5, 2}}, Points{{1, 0}, {2, 0}}, Points{{1, -3}, {2, INFINITY}, {3, 4e9}}}) {
    const std::string svg = svg_of({"p", "x", "y", {{"a", points}, {"b", points, true}}});
    EXPECT_THAT(svg, HasSubstr("class=\"line s1\""));
    EXPECT_THAT(svg, Not(HasSubstr("nan")));
    EXPECT_THAT(svg, Not(HasSubstr("inf")));
  }
}

TEST(Svg, StaysSmallWhateverTheNumberOfSteps) {
  Points points;
  for (int i = 1; i <= 100'000; ++i) points.emplace_back(i, 1 + std::sin(i) / i);
  EXPECT_LT(svg_of({"p", "step", "loss", {{"a", points, true}}}).size(), 60'000U);
}

TEST(Svg, StripsTellTheValues) {
  const std::string svg = svg_of({"p", "step", "loss", {{"a", {{0, 1}, {80, 5}}}}});
  const std::vector<std::string> titles = select(svg, "//title");
  ASSERT_EQ(titles.size(), 80U);
  EXPECT_EQ(titles.front(), "step 1\na: 1");
  EXPECT_EQ(titles.back(), "step 80\na: 5");
}

TEST(Page, IsWellFormedSelfContainedAndEscaped) {
  const std::string page = render_report(full_report());
  EXPECT_THAT(select(page, "//h1"), ElementsAre("A <run> & \"more\""));
  EXPECT_THAT(select(page, "//h2"), ElementsAre("Learning", "Figures", "MME", "Samples", "What trains", "Config"));
  EXPECT_THAT(select(page, "//dd"), ElementsAre("a<b>"));
  EXPECT_THAT(select(page, "//pre"), ElementsAre("lora trains", "[run]\ndir = <x>\n"));
  EXPECT_TRUE(select(page, "//script | //link | //@onclick").empty());
  EXPECT_THAT(page, Not(HasSubstr("http")));
  EXPECT_THAT(page, HasSubstr("prefers-color-scheme: dark"));
}

TEST(Page, MarksRightAndWrongByMoreThanColour) {
  const std::string page = render_report(full_report());
  EXPECT_THAT(select(page, "//li[@class='right']/span[@class='reply']"), ElementsAre("✓ Yes", "✓ 是"));
  EXPECT_THAT(select(page, "//li[@class='wrong']/span[@class='reply']"), ElementsAre("✗ <是>"));
  EXPECT_EQ(select(page, "//article[contains(@class, 'flawless')]").size(), 1U);
  EXPECT_THAT(select(page, "//label"), ElementsAre("only the wrong answers (1 of 3 shown here)"));
  EXPECT_EQ(select(page, "//article/img").size(), 1U);
  EXPECT_THAT(select(page, "//section/h3"), ElementsAre("English", "Chinese"));
  EXPECT_FALSE(select(page, "//span[@lang='zh-Hans']").empty());
}

TEST(Page, ShowsGoalsMetAndMissed) {
  const std::string page = render_report(full_report());
  EXPECT_THAT(select(page, "//div[@class='value']"), ElementsAre("70.0 % goal 80 % ✗", "90.0 % goal 75 % ✓"));
  EXPECT_EQ(select(page, "//div[@class='bar missed']").size(), 1U);
}

TEST(Page, LeavesOutWhatIsMissing) {
  ReportData report;
  report.title = "nothing yet";
  const std::string page = render_report(report);
  EXPECT_THAT(select(page, "//h1"), ElementsAre("nothing yet"));
  EXPECT_TRUE(select(page, "//h2 | //dl | //table | //svg").empty());
}

TEST_F(Report, SkipsAndCountsDamagedLines) {
  const std::string path = put("run/metrics.jsonl", step_line(1, 4) + "{\"step\":2,\"lo\n[]\n\n{\"loss\":3}\n" +
                                                        step_line(2, 3) + "{\"step\":2,\"validation loss\":3.5}\n" +
                                                        "{\"step\":3,\"loss\":null,\"skipped\":true}\n{\"ste");
  const RunHistory history = read_history(path);
  EXPECT_EQ(history.damaged_lines, 4);
  EXPECT_THAT(history.loss, ElementsAre(Pair(1, 4), Pair(2, 3)));
  ASSERT_NE(history.figure("validation loss"), nullptr);
  EXPECT_THAT(*history.figure("validation loss"), ElementsAre(Pair(2, 3.5)));
  EXPECT_EQ(history.skipped, 1);
  EXPECT_EQ(history.last_step, 3);
  const ReportData report = collect_report(run());
  ASSERT_EQ(report.notes.size(), 1U);
  EXPECT_THAT(report.notes[0], HasSubstr("4 lines of"));
}

TEST_F(Report, ResumedRunsReplaceWhatTheyDoAgain) {
  const std::string path = put("run/metrics.jsonl", step_line(1, 5) + step_line(2, 4) + step_line(3, 3) +
                                                        "{\"step\":3,\"validation loss\":9}\n" + step_line(2, 8) +
                                                        step_line(3, 7) + "{\"step\":3,\"validation loss\":6}\n");
  const RunHistory history = read_history(path);
  EXPECT_THAT(history.loss, ElementsAre(Pair(1, 5), Pair(2, 8), Pair(3, 7)));
  EXPECT_THAT(*history.figure("validation loss"), ElementsAre(Pair(3, 6)));
  EXPECT_EQ(history.went_back, 1);
  EXPECT_DOUBLE_EQ(history.total_seconds, 2.5);
}

TEST_F(Report, ShowsStageOneBeforeStageTwo) {
  put("one/config.ini", "[model]\nweights = none\n[train]\nobjective = instruction\n");
  put("one/metrics.jsonl", step_line(1, 4) + "{\"step\":1,\"lvm/retrieval_english\":0.8}\n" +
                               "{\"step\":1,\"mixture/a.h5\":0.9}\n");  // of the data: at the end of the page
  put("run/config.ini", fmt::format("[model]\nweights = {0}/missing.safetensors, {0}/one/trained.safetensors\n"
                                    "unknown = 1\n[train]\nsteps = 9\n",
                                    dir_));
  put("run/metrics.jsonl", step_line(1, 2));
  const ReportData report = collect_report(run());
  ASSERT_EQ(report.plots.size(), 3U);
  EXPECT_EQ(report.plots[0].title, "one: loss");
  EXPECT_EQ(report.plots[1].title, "one: lvm");
  EXPECT_EQ(report.plots[2].title, "run: loss");
  ASSERT_FALSE(report.more_plots.empty());
  EXPECT_EQ(report.more_plots[0].title, "one: mixture");
  ASSERT_EQ(report.figures.size(), 1U);
  EXPECT_EQ(report.figures[0].goal, .75);
  EXPECT_THAT(report.facts, ::testing::Contains(Pair("steps", "1 of 9")));
}

TEST_F(Report, SaysWhereItRan) {
  put("run/metrics.jsonl", step_line(1, 2));
  append_start(run(), {"2025-01-31T13:05:00Z", "host", "cpu", 4, 2, 1});
  std::ofstream(run() + "/starts.jsonl", std::ios::app) << "{\"time\n";
  append_start(run(), this_start(3));
  const ReportData report = collect_report(run());
  EXPECT_THAT(report.facts, ::testing::Contains(Pair("started", "2025-01-31 13:05 UTC")));
  EXPECT_THAT(report.facts, ::testing::Contains(Pair("ranks", HasSubstr("3 × "))));
  EXPECT_GT(this_start(1).threads, 0);
}

TEST_F(Report, TakesMmeByLanguageAndJudgesSamples) {
  const std::string picture = put("a.png", encode_png(Image(4, 4)));
  const std::string mme = R"({"languages":{"en":{"rule":"official","tasks":[{"task":"existence","questions":2,"acc":0.5,
    "acc_plus":0.0,"score":50.0,"yes_ratio":1.0}],"perception":{"score":50.0,"most":200,"tasks":1,"all_tasks":10},
    "cognition":{"score":0,"most":0,"tasks":0,"all_tasks":4},"samples":[
    {"task":"existence","image":"PICTURE","question":"A?","truth":"Yes","answer":"yes.","right":true},
    {"task":"existence","image":"PICTURE","question":"B?","truth":"No","answer":"Yes","right":false},
    {"task":"existence","image":"gone.png","question":"C?","truth":"是","answer":"不是","right":false}]}}})";
  put("run/eval/mme.json", std::regex_replace(mme, std::regex("PICTURE"), picture));
  put("run/metrics.jsonl", step_line(1, 2));
  const ReportData report = collect_report(run());
  ASSERT_EQ(report.scores.size(), 1U);
  EXPECT_EQ(report.scores[0].title, "English");
  EXPECT_EQ(report.scores[0].sums.size(), 1U);  // cognition was not asked
  ASSERT_EQ(report.samples.size(), 2U);
  ASSERT_EQ(report.samples[0].exchanges.size(), 2U);
  EXPECT_TRUE(report.samples[0].exchanges[0].right);
  EXPECT_FALSE(report.samples[0].exchanges[1].right);
  EXPECT_FALSE(report.samples[1].exchanges[0].right);
  EXPECT_EQ(report.samples[0].image, read_file(picture));
  EXPECT_EQ(report.samples[0].group, "MME, English");
  ASSERT_EQ(report.notes.size(), 1U);
  EXPECT_THAT(report.notes[0], HasSubstr("left out: 1 (MME, English)"));
}

// {"task", "image", "question", "truth", "answer", "right"} as skymm eval saves them.
std::string sample_json(const std::string& task, const std::string& image, const std::string& question, bool right) {
  return fmt::format(R"({{"task":"{}","image":"{}","question":"{}","truth":"yes","answer":"{}","right":{}}})", task,
                     image, question, right ? "yes" : "no", right);
}

std::string pope_json(const std::string& language, const std::vector<std::string>& samples, const std::string& by) {
  return fmt::format(
      R"({{"languages":{{"{}":{{"rule":"official","by":"{}","splits":[{{"split":"random","questions":40,"accuracy":0.5,
      "precision":0.4,"recall":0.3,"f1":0.2,"yes_ratio":0.1}}],"samples":[{}]}}}}}})",
      language, by, fmt::join(samples, ","));
}

TEST_F(Report, ShowsSomeOfAllAnswersTheWrongOnesFirst) {
  const std::string picture = put("a.png", encode_png(Image(4, 4)));
  std::vector<std::string> samples;
  for (int i = 0; i < 100; ++i) {  // two questions about each, of one picture in three the second is wrong
    put(fmt::format("pictures/{}.png", i), read_file(picture));
    const std::string path = fmt::format("{}/pictures/{}.png", dir_, i);
    samples.push_back(sample_json("random", path, fmt::format("first of {}?", i), true));
    samples.push_back(sample_json("random", path, fmt::format("second of {}?", i), i % 3 != 0));
  }
  put("run/metrics.jsonl", step_line(1, 2));
  put("run/eval/pope.json", pope_json("en", samples, "generation"));
  put("run/eval/pope_by_likelihood.json", pope_json("zh", {samples[0], samples[1]}, "likelihood"));
  const ReportData report = collect_report(run());
  EXPECT_TRUE(report.notes.empty());
  ASSERT_EQ(report.samples.size(), 25U);
  for (std::size_t i = 0; i < 24; ++i) {
    ASSERT_EQ(report.samples[i].exchanges.size(), 2U);
    EXPECT_EQ(report.samples[i].exchanges[1].right, i >= 18) << i;
    EXPECT_EQ(report.samples[i].group, "POPE, English");
    EXPECT_FALSE(report.samples[i].image.empty());
  }
  EXPECT_EQ(report.samples[0].exchanges[1].question, "second of 0?");
  EXPECT_EQ(report.samples[17].exchanges[1].question, "second of 96?");  // spread over all
  EXPECT_EQ(report.samples[24].group, "POPE, Chinese, by likelihood");
  ASSERT_EQ(report.figures.size(), 10U);
  EXPECT_EQ(report.figures[0].group, "run: POPE, random, English");
  EXPECT_EQ(report.figures[5].group, "run: POPE, random, Chinese, by likelihood");
  const std::string page = render_report(report);
  EXPECT_THAT(
      select(page, "//section[h2='Samples']/p"),
      ElementsAre("24 of 100 pictures are shown, of those with a wrong answer 18 of 34; all answers are in eval/.",
                  "1 of 1 pictures are shown, of those with a wrong answer 1 of 1; all answers are in eval/."));
  EXPECT_THAT(select(page, "//label"), ElementsAre("only the wrong answers (19 of 50 shown here)"));
  EXPECT_EQ(select(page, "//article/img").size(), 25U);
}

TEST_F(Report, ShowsMmbenchsRotationsBesideThePictureOfItsTable) {
  put("run/metrics.jsonl", step_line(1, 2));
  std::string rows = "index\tquestion\tA\tB\tanswer\tcategory\timage\n", samples;
  for (int i = 0; i < 3; ++i) {
    rows += fmt::format("{}\tWhich?\tcat\tdog\tA\tscene\t{}\n", i, encode_base64(encode_png(Image(4 + i, 4))));
    for (int k = 0; k < 2; ++k) {
      samples += fmt::format(
          R"({}{{"task":"scene","index":{},"question":"Which?\nA. ...","truth":"A","answer":"B","read":"B","right":{}}})",
          samples.empty() ? "" : ",", k * 1'000'000 + i, i != 1);
    }
  }
  const std::string table = put("mmbench.tsv", rows);
  put("run/eval/mmbench.json",
      fmt::format(R"({{"languages":{{"en":{{"data":"{}","by":"generation","all":{{"name":"all","accuracy":0.6,
        "questions":3}},"l2":[{{"name":"CP","accuracy":0.6,"questions":3}}],"l3":[{{"name":"scene","l2":"CP",
        "accuracy":0.6,"questions":3}}],"samples":[{}]}}}}}})",
                  table, samples));
  const ReportData report = collect_report(run());
  EXPECT_TRUE(report.notes.empty());
  ASSERT_EQ(report.samples.size(), 3U);
  EXPECT_EQ(report.samples[0].image, encode_png(Image(5, 4)));  // the wrong one
  EXPECT_EQ(report.samples[2].image, encode_png(Image(6, 4)));
  for (const SampleCard& card : report.samples) EXPECT_EQ(card.exchanges.size(), 2U);
  EXPECT_EQ(report.samples[0].group, "MMBench, English");
  ASSERT_EQ(report.figures.size(), 3U);
  EXPECT_EQ(report.figures[1].name, "CP · scene");
  // Without the table, the answers stand without pictures.
  std::filesystem::remove(table);
  const ReportData without = collect_report(run());
  EXPECT_EQ(without.samples.size(), 3U);
  ASSERT_EQ(without.notes.size(), 1U);
  EXPECT_THAT(without.notes[0], HasSubstr("left out: 3 (MMBench, English)"));
}

TEST_F(Report, DamagedAnswersAreNotedOnce) {
  put("run/metrics.jsonl", step_line(1, 2));
  put("run/eval/pope.json", "{ damaged");
  put("run/eval/mmbench.json", R"({"languages":{"en":{}}})");
  const ReportData report = collect_report(run());
  ASSERT_EQ(report.notes.size(), 2U);
  EXPECT_THAT(report.notes[0], HasSubstr("pope.json"));
  EXPECT_THAT(report.notes[1], HasSubstr("mmbench.json"));
}

TEST_F(Report, LabelsTablesByLikelihood) {
  put("run/metrics.jsonl", step_line(1, 2));
  put("run/eval/mme_by_likelihood.json",
      R"json({"languages":{"zh":{"rule":"chinese (not official)","by":"likelihood","tasks":[],
      "perception":{"score":0,"most":0,"tasks":0,"all_tasks":10},"cognition":{"score":0,"most":0,"tasks":0,"all_tasks":4}}}})json");
  const ReportData report = collect_report(run());
  ASSERT_EQ(report.scores.size(), 1U);
  EXPECT_EQ(report.scores[0].title, "Chinese, by likelihood");
  EXPECT_THAT(report.scores[0].note, HasSubstr("by their likelihood"));
}

TEST(Page, StaysSmallWhateverThePicturesOfItsSamples) {
  Image noise(700, 500);
  std::uint32_t state = 1;
  for (int y = 0; y < 500; ++y) {
    for (int x = 0; x < 700; ++x) {
      state = state * 1664525 + 1013904223;
      *noise.at(x, y) = static_cast<std::uint8_t>(state >> 24);
    }
  }
  ReportData report;
  report.title = "many";
  const std::string bytes = encode_png(noise);
  ASSERT_GT(bytes.size(), 100'000U);
  for (int i = 0; i < 150; ++i)
    report.samples.push_back({"MME, English", "existence", bytes, {{"Q?", "Yes", "No", false}}});
  const std::string page = render_report(report);
  EXPECT_LT(page.size(), 5'000'000U);
  const std::size_t shown = select(page, "//article/img").size();
  EXPECT_GT(shown, 20U);
  EXPECT_EQ(select(page, "//article").size(), 150U);
  EXPECT_THAT(select(page, "//section/p"),
              ElementsAre(fmt::format("{} pictures are left out, so that this page stays small.", 150 - shown)));
}

TEST_F(Report, TakesTheFiguresOfGates) {
  put("run/metrics.jsonl", step_line(1, 2));
  put("run/eval/scenes.json",
      R"({"totals":[{"language":"zh","form":"yes/no","asked":1200,"accuracy":0.97}],"kinds":[]})");
  put("run/eval/names.json", R"({"languages":{"en":{"named":10,"present":12,"precision":0.7,"recall":0.6}}})");
  put("run/eval/answers.json", "{ damaged");
  const ReportData report = collect_report(run());
  ASSERT_EQ(report.figures.size(), 3U);
  EXPECT_EQ(report.figures[0].name, "all, Chinese, yes/no");
  EXPECT_EQ(report.figures[0].goal, .95);
  EXPECT_EQ(report.figures[0].note, "of 1,200");
  EXPECT_EQ(report.figures[1].value, .7);
  EXPECT_TRUE(std::isnan(report.figures[2].goal));
  ASSERT_EQ(report.notes.size(), 1U);
  EXPECT_THAT(report.notes[0], HasSubstr("answers.json"));
}

TEST_F(Report, CommandWritesAPageThatParses) {
  put("run/metrics.jsonl", step_line(1, 4) + step_line(2, 3));
  put("run/config.ini", "[model]\ntrain = lora\n");
  EXPECT_EQ(report_command({"--run", run()}), 0);
  EXPECT_THAT(select(read_file(run() + "/report.html"), "//h1"), ElementsAre("run"));
  EXPECT_THROW(report_command({}), UsageError);
  EXPECT_THROW(report_command({"--rnu", run()}), UsageError);
  EXPECT_THROW(report_command({"--run", dir_ + "/nowhere"}), Error);
}

}  // namespace
}  // namespace skymm
