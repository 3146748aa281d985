#include "launch/eval_command.hpp"

#include <nlohmann/json.hpp>
#include <set>

#include "io/base64.hpp"
#include "io/dataset.hpp"
#include "io/picturebook/picturebook.hpp"
#include "launch/config/options.hpp"
#include "launch/evaluation/likelihood.hpp"
#include "launch/evaluation/mme_answers.hpp"
#include "parallel/communicator.hpp"
#include "support/tiny_run.hpp"

namespace skymm {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::AllOf;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::tiny_picture;

class EvalCommand : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<testing::TemporaryFolder>();
    for (const char* name : {"run", "blind"}) fs::create_directories(folder_->file(name));
    testing::write_tiny_run(run());
    testing::write_tiny_run(blind(), "none");
    testing::write_tiny_mme(mme(), 3);
    testing::write_tiny_mmbench(folder_->file("mmbench"));
    testing::write_tiny_pope(folder_->file("pope"));
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static std::string run() { return folder_->file("run"); }
  static std::string blind() { return folder_->file("blind"); }
  static std::string mme() { return folder_->file("mme"); }
  static std::string eval(const std::vector<std::string>& arguments) {
    ::testing::internal::CaptureStdout();
    const int code = eval_command(arguments);
    const std::string out = ::testing::internal::GetCapturedStdout();
    EXPECT_EQ(code, 0) << out;
    return out;
  }
  static std::string error(const std::vector<std::string>& arguments) {
    return error_of([&] { eval_command(arguments); });
  }
  static json figures(const std::string& path) { return json::parse(read_file(path)); }

  // Two canvases, a sample in each language.
  static std::string dataset(const std::string& name, bool captions) {
    const std::string path = folder_->file(name);
    DatasetWriter writer(path);
    for (int i = 0; i < 2; ++i) {
      for (const Language language : {Language::english, Language::chinese}) {
        const bool chinese = language == Language::chinese;
        Sample sample;
        sample.id = fmt::format("{}-{}", i, chinese ? "zh" : "en");
        sample.language = language;
        sample.images = {tiny_picture(i)};
        sample.parts = {image_part(0)};
        if (captions) {
          sample.parts.push_back(
              answer_part(chinese ? "左：熊猫。右：饺子。" : "left: red panda. right: dumpling.", "caption"));
        } else {
          sample.parts.push_back(text_part(chinese ? "图里有熊猫吗？" : "Is there a panda?"));
          sample.parts.push_back(answer_part(chinese ? "是" : "no", "existence"));
        }
        writer.add(sample);
      }
    }
    writer.close();
    return path;
  }

  static inline std::unique_ptr<testing::TemporaryFolder> folder_;
};

TEST_F(EvalCommand, AsksMmeInBothLanguages) {
  const std::string out = eval({"mme", "--run", run(), "--data", mme()});
  EXPECT_THAT(out,
              AllOf(HasSubstr("MME en"), HasSubstr("MME zh"), HasSubstr("rule: official"), HasSubstr("not official")));
  const json all = figures(run() + "/eval/mme.json");
  for (const char* language : {"en", "zh"}) {
    const json& part = all.at("languages").at(language);
    ASSERT_EQ(part.at("tasks").size(), 2U);
    EXPECT_EQ(part.at("samples").size(), 12U);
    EXPECT_TRUE(fs::exists(part.at("samples").at(5).at("image").get<std::string>()));
    const std::vector<MmeResult> results = read_mme_results(fmt::format("{}/eval/mme/{}/count.txt", run(), language));
    ASSERT_EQ(results.size(), 6U);
    EXPECT_EQ(results[2].picture, "1.png");
    EXPECT_EQ(part.at("samples").at(2).at("answer"), results[2].response);
    const MmeScore score = score_mme("count", results);
    EXPECT_EQ(part.at("tasks").at(0).at("task"), "count");
    EXPECT_EQ(part.at("tasks").at(0).at("questions"), 6);
    EXPECT_EQ(part.at("tasks").at(0).at("said_other"), score.said_other);
    EXPECT_DOUBLE_EQ(part.at("tasks").at(0).at("score").get<double>(), score.score());
  }
  // Result files by themselves give the same tables.
  const std::string again = eval({"mme", "--results", run() + "/eval/mme"});
  const std::string table = out.substr(out.find("task "), out.find("MME zh") - out.find("task "));
  EXPECT_THAT(again, HasSubstr(table));
  json scores = figures(run() + "/eval/mme/scores.json").at("languages");
  EXPECT_EQ(scores.at("en").at("tasks"), all.at("languages").at("en").at("tasks"));
  EXPECT_EQ(scores.at("zh").at("rule"), "chinese (not official)");
}

TEST_F(EvalCommand, KeepsAllAnswers) {
  const std::string many = folder_->file("many");
  testing::write_tiny_mme(many, 20);
  eval({"mme", "--run", run(), "--data", many + "/en"});
  const json english = figures(run() + "/eval/mme.json").at("languages").at("en");
  ASSERT_EQ(english.at("samples").size(), 2U * 2 * 20);
  std::int64_t right = 0;
  for (const json& sample : english.at("samples")) right += sample.at("right").get<bool>();
  EXPECT_DOUBLE_EQ(static_cast<double>(right) / 80, english.at("total").at("acc").get<double>());
}

TEST_F(EvalCommand, ALanguageKeepsTheOthersFigures) {
  eval({"mme", "--run", run(), "--data", mme() + "/en"});
  const json before = figures(run() + "/eval/mme.json").at("languages").at("en");
  eval({"mme", "--run", run(), "--data", mme() + "/zh"});
  const json after = figures(run() + "/eval/mme.json").at("languages");
  EXPECT_EQ(after.at("en"), before);
  EXPECT_EQ(after.at("zh").at("data"), mme() + "/zh");
}

TEST_F(EvalCommand, ChoosesByLikelihood) {
  eval({"mme", "--run", run(), "--data", mme()});
  const json generated = figures(run() + "/eval/mme.json");
  EXPECT_EQ(generated.at("languages").at("en").at("by"), "generation");
  EXPECT_THAT(eval({"mme", "--run", run(), "--data", mme(), "--by", "likelihood"}),
              AllOf(HasSubstr("MME en, by likelihood"), HasSubstr("MME zh, by likelihood")));
  EXPECT_EQ(figures(run() + "/eval/mme.json"), generated);
  const json languages = figures(run() + "/eval/mme_by_likelihood.json").at("languages");
  for (const char* language : {"en", "zh"}) {
    EXPECT_EQ(languages.at(language).at("by"), "likelihood");
    EXPECT_EQ(languages.at(language).at("total").at("said_other"), 0);
    for (const MmeResult& result :
         read_mme_results(fmt::format("{}/eval/mme_by_likelihood/{}/count.txt", run(), language))) {
      const std::vector<std::string> words =
          yes_no_candidates(*language == 'z' ? Language::chinese : Language::english);
      EXPECT_THAT(words, ::testing::Contains(result.response));
    }
  }
  EXPECT_THAT(error({"mme", "--run", run(), "--data", mme(), "--by", "luck"}),
              HasSubstr("'luck' is neither generation nor likelihood"));
}

TEST_F(EvalCommand, AsksMmbenchInBothLanguages) {
  const std::string data = folder_->file("mmbench");
  for (const std::string by : {"generation", "likelihood"}) {
    const std::string name = by == "generation" ? "mmbench" : "mmbench_by_likelihood";
    const std::string out = eval({"mmbench", "--run", run(), "--data", data, "--by", by});
    EXPECT_THAT(out, AllOf(HasSubstr("MMBench en, by " + by), HasSubstr("MMBench zh, by " + by), HasSubstr("  scene")));
    const json languages = figures(fmt::format("{}/eval/{}.json", run(), name)).at("languages");
    for (const char* language : {"en", "zh"}) {
      const json& part = languages.at(language);
      EXPECT_EQ(part.at("by"), by);
      EXPECT_EQ(part.at("all").at("rotations"), 9);
      ASSERT_EQ(part.at("l3").size(), 3U);
      EXPECT_EQ(part.at("l3").at(0).at("name"), "object");
      EXPECT_EQ(part.at("l3").at(0).at("l2"), "CP");
      ASSERT_EQ(part.at("samples").size(), 9U);
      std::int64_t right = 0;
      for (const json& sample : part.at("samples")) right += sample.at("right").get<bool>();
      EXPECT_EQ(right, part.at("all").at("rotations_right"));
      if (by == "likelihood") {
        EXPECT_EQ(part.at("unread"), 0);
      }
    }
    // The tables of results give the same figures.
    const std::string results = fmt::format("{}/eval/{}", run(), name);
    eval({"mmbench", "--results", results});
    const json again = figures(results + "/scores.json").at("languages");
    for (const char* language : {"en", "zh"}) {
      for (const char* figure : {"all", "l2", "l3", "unread", "chosen"})
        EXPECT_EQ(again.at(language).at(figure), languages.at(language).at(figure)) << figure;
    }
    EXPECT_THAT(eval({"mmbench", "--results", results + "/zh.tsv"}), HasSubstr("zh.tsv\nability"));
  }
  // A table by itself: its text tells the language, and the other one's figures stay.
  eval({"mmbench", "--run", run(), "--data", data + "/mmbench_dev_cn.tsv", "--tokens", "1"});
  const json languages = figures(run() + "/eval/mmbench.json").at("languages");
  EXPECT_EQ(languages.at("zh").at("data"), data + "/mmbench_dev_cn.tsv");
  EXPECT_EQ(languages.at("en").at("data"), data + "/mmbench_dev_en.tsv");
  EXPECT_THAT(error({"mmbench", "--run", run(), "--data", data, "--by", "likelihood", "--tokens", "3"}),
              HasSubstr("--tokens goes with --by generation"));
  EXPECT_THAT(error({"mmbench", "--results", data}), HasSubstr("no column 'prediction'"));
  EXPECT_THAT(error({"mmbench", "--results", data, "--after", "x"}), HasSubstr("--after goes with --run"));
}

TEST_F(EvalCommand, AsksPopeInBothLanguages) {
  const std::string data = folder_->file("pope");
  for (const std::string by : {"generation", "likelihood"}) {
    const std::string name = by == "generation" ? "pope" : "pope_by_likelihood";
    const std::string out = eval({"pope", "--run", run(), "--data", data, "--by", by});
    EXPECT_THAT(out, AllOf(HasSubstr("POPE en, by " + by), HasSubstr("POPE zh, by " + by), HasSubstr("rule: official"),
                           HasSubstr("not official")));
    const json languages = figures(fmt::format("{}/eval/{}.json", run(), name)).at("languages");
    for (const char* language : {"en", "zh"}) {
      const json& part = languages.at(language);
      EXPECT_EQ(part.at("by"), by);
      ASSERT_EQ(part.at("splits").size(), 2U);
      // The same picture and question, once with each label: one of the two is right.
      EXPECT_DOUBLE_EQ(part.at("splits").at(1).at("accuracy").get<double>(), 0.5);
      ASSERT_EQ(part.at("samples").size(), 8U);
      EXPECT_TRUE(fs::exists(part.at("samples").at(7).at("image").get<std::string>()));
      EXPECT_NE(part.at("samples").at(0).at("right"), part.at("samples").at(1).at("right"));
    }
    // The result files give the same figures.
    const std::string results = fmt::format("{}/eval/{}", run(), name);
    eval({"pope", "--results", results});
    const json again = figures(results + "/scores.json").at("languages");
    for (const char* language : {"en", "zh"}) {
      for (const char* figure : {"rule", "splits"})
        EXPECT_EQ(again.at(language).at(figure), languages.at(language).at(figure)) << figure;
    }
    EXPECT_THAT(eval({"pope", "--results", results + "/zh/random.jsonl"}), HasSubstr("random"));
  }
  EXPECT_THAT(error({"pope", "--run", run(), "--data", data + "/en"}), HasSubstr("--images"));
  EXPECT_THAT(error({"pope", "--results", data}), HasSubstr("no text \"answer\""));
  EXPECT_THAT(error({"pope", "--results", data, "--images", data}), HasSubstr("--images goes with --run"));
  EXPECT_THAT(error({"pope", "--limit", "3"}), HasSubstr("needs --run and --data, or --results"));
}

TEST_F(EvalCommand, TakesOneMmeFolderAndALimit) {
  const std::string results = folder_->file("results");
  EXPECT_THAT(eval({"mme", "--run", run(), "--data", mme() + "/zh", "--results", results, "--limit", "2"}),
              AllOf(HasSubstr("MME zh"), Not(HasSubstr("MME en"))));
  EXPECT_EQ(read_mme_results(results + "/zh/scene.txt").size(), 4U);
  EXPECT_EQ(figures(run() + "/eval/mme.json").at("languages").at("zh").at("limit"), 2);
  EXPECT_THAT(eval({"mme", "--results", results + "/zh"}), HasSubstr("scene"));
}

TEST_F(EvalCommand, AnswersDoNotDependOnTheBatch) {
  skymm::Run opened = open_run(run());
  SingleCommunicator alone;
  const std::vector<MmeTask> tasks = read_mme(mme() + "/en");
  const auto together = answer_mme(opened, alone, tasks).results;
  std::set<std::string> seen;
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    for (std::size_t q = 0; q < tasks[t].questions.size(); q += 2) {
      const MmeTask one{tasks[t].name, {tasks[t].questions[q], tasks[t].questions[q + 1]}};
      const auto results = answer_mme(opened, alone, {one}).results;
      EXPECT_EQ(results[0][0].response, together[t][q].response);
      EXPECT_EQ(results[0][1].response, together[t][q + 1].response);
      seen.insert(results[0][0].response);
    }
  }
  EXPECT_GT(seen.size(), 1U) << "the model does not look at its pictures, so that the test would not see a mix-up";
}

TEST_F(EvalCommand, AnswersTextScenes) {
  const std::string out = eval({"scenes", "--run", blind(), "--scenes", "2"});
  EXPECT_THAT(out, AllOf(HasSubstr("total en yes/no"), HasSubstr("total zh yes/no"), HasSubstr("existence")));
  const json all = figures(blind() + "/eval/scenes.json");
  std::int64_t asked = 0;
  for (const json& kind : all.at("kinds")) asked += kind.at("asked").get<std::int64_t>();
  EXPECT_EQ(asked, 2 * 2 * 10);
}

TEST_F(EvalCommand, AnswersADataSet) {
  const std::string data = dataset("answers.h5", false);
  EXPECT_THAT(eval({"answers", "--run", run(), "--data", data}), HasSubstr("of 2"));
  EXPECT_EQ(figures(run() + "/eval/answers.json").at("totals").size(), 2U);
  eval({"answers", "--run", run(), "--data", data, "--skip", "3", "--limit", "5"});
  const json totals = figures(run() + "/eval/answers.json").at("totals");
  ASSERT_EQ(totals.size(), 1U);
  EXPECT_EQ(totals.at(0).at("language"), "zh");
  EXPECT_EQ(totals.at(0).at("asked"), 1);
  EXPECT_THAT(error({"answers", "--run", run(), "--data", data, "--skip", "4"}), HasSubstr("which has 4 samples"));
  EXPECT_THAT(error({"answers", "--run", blind(), "--data", data}), HasSubstr("has no vision model"));
}

TEST_F(EvalCommand, ComparesNames) {
  EXPECT_THAT(eval({"names", "--run", run(), "--data", dataset("names.h5", true), "--limit", "3"}),
              AllOf(HasSubstr("names en"), HasSubstr("names zh")));
  const json all = figures(run() + "/eval/names.json").at("languages");
  EXPECT_EQ(all.at("en").at("present"), 4);
  EXPECT_EQ(all.at("zh").at("present"), 2);
}

TEST_F(EvalCommand, ABadPictureCostsItsOwnQuestionsAlone) {
  const std::string bad = folder_->file("bad"), results = folder_->file("bad_results");
  testing::write_tiny_mme(bad, 2);
  write_file(bad + "/en/count/0.png", "not a picture");
  fs::remove(bad + "/zh/scene/images/1.png");
  EXPECT_THAT(error({"mme", "--run", run(), "--data", bad}), HasSubstr("1.txt has no picture"));
  eval({"mme", "--run", run(), "--data", bad + "/en", "--results", results});
  const json part = figures(run() + "/eval/mme.json").at("languages").at("en");
  const json& unasked = part.at("unasked");
  EXPECT_EQ(unasked.at("count"), 2);
  EXPECT_EQ(unasked.at("first").at(1).at("question"), 1);
  EXPECT_THAT(unasked.at("first").at(1).at("why").get<std::string>(), HasSubstr("bad/en/count/0.png: "));
  EXPECT_EQ(part.at("tasks").at(0).at("questions"), 4);
  EXPECT_GE(part.at("tasks").at(0).at("said_other"), 2);
  const std::vector<MmeResult> bad_count = read_mme_results(results + "/en/count.txt");
  EXPECT_EQ(bad_count[0].response, "");
  write_file(bad + "/en/count/0.png", tiny_picture(0));
  eval({"mme", "--run", run(), "--data", bad + "/en", "--results", results});
  EXPECT_EQ(figures(run() + "/eval/mme.json").at("languages").at("en").at("unasked").at("count"), 0);
  const std::vector<MmeResult> count = read_mme_results(results + "/en/count.txt");
  EXPECT_EQ(count[2].response, bad_count[2].response);
  EXPECT_EQ(count[3].response, bad_count[3].response);
}

TEST_F(EvalCommand, AQuestionThatIsTooLongCostsNoOther) {
  const auto table = [&](const std::string& name, const std::string& hint) {
    std::string rows = "index\tquestion\thint\tA\tB\tanswer\tcategory\timage\tl2-category\n";
    for (int i = 0; i < 5; ++i) {
      rows += fmt::format("{}\tWhat is it?\t{}\tpanda\tdumpling\tB\tthing\t{}\tCP\n", i, i == 3 ? hint : "nan",
                          encode_base64(tiny_picture(i)));
    }
    write_file(folder_->file(name), rows);
    eval({"mmbench", "--run", run(), "--data", folder_->file(name)});
    return figures(run() + "/eval/mmbench.json").at("languages").at("en");
  };
  std::string hint;
  for (int i = 0; i < 2048; ++i) hint += "panda ";
  const json usual = table("usual.tsv", "nan"), all = table("long.tsv", hint);
  EXPECT_EQ(usual.at("unasked").at("count"), 0);
  EXPECT_EQ(all.at("unasked").at("count"), 2);
  EXPECT_THAT(all.at("unasked").at("first").at(0).at("why").get<std::string>(),
              AllOf(HasSubstr("MMBench row 3: "), HasSubstr("the limit is 2048")));
  EXPECT_EQ(all.at("all").at("rotations"), 10);
  for (std::size_t i = 0; i < all.at("samples").size(); ++i) {
    const json& sample = all.at("samples").at(i);
    if (sample.at("index").get<int>() % 1000000 == 3) {
      EXPECT_EQ(sample.at("answer"), "");
    } else {
      EXPECT_EQ(sample.at("answer"), usual.at("samples").at(i).at("answer"));
    }
  }
}

TEST_F(EvalCommand, WhereNothingCouldBeAskedThereIsNoScore) {
  write_file(folder_->file("pope_random.json"), R"({"image": "gone.png", "text": "Is there a cat?", "label": "no"})");
  EXPECT_THAT(error({"pope", "--run", run(), "--data", folder_->file("pope_random.json"), "--images", folder_->path()}),
              AllOf(HasSubstr("none of the 1 questions could be asked"), HasSubstr("gone.png")));
}

TEST_F(EvalCommand, SaysWhatIsMissing) {
  EXPECT_THAT(error({"mne"}), HasSubstr("did you mean 'mme'"));
  EXPECT_THAT(error({"mme"}), HasSubstr("needs --run and --data, or --results"));
  EXPECT_THAT(error({"mme", "--run", run()}), HasSubstr("needs --data"));
  EXPECT_THAT(error({"mme", "--run", run(), "--dat", "x"}), HasSubstr("did you mean '--data'"));
  EXPECT_THAT(error({"mme", "--results", mme(), "--limit", "3"}), HasSubstr("--limit goes with --run"));
  EXPECT_THAT(error({"names", "--run", run(), "--data"}), HasSubstr("data"));
  EXPECT_THAT(error({"scenes", "--run", blind(), "--scenes", "0"}), HasSubstr("at least 1"));
  EXPECT_THAT(error({"scenes", "--run", blind(), "--scenes", "many"}), HasSubstr("'many' is not a whole number"));
  EXPECT_THAT(error({"scenes", "--run", blind(), "twice"}), HasSubstr("'twice' is not expected"));
  EXPECT_THAT(error({"mme", "--run", folder_->path(), "--data", mme()}), HasSubstr("is no run directory"));
  EXPECT_THAT(error({"mme", "--run", blind(), "--data", mme()}), HasSubstr("has no vision model"));
  EXPECT_THROW(eval_command({"mme", "--run", run()}), UsageError);
}

TEST_F(EvalCommand, HelpTeaches) {
  EXPECT_THAT(eval({"--help"}), AllOf(HasSubstr("mpirun"), HasSubstr("scenes"), HasSubstr("names")));
  EXPECT_THAT(eval({"mme", "--help"}), AllOf(HasSubstr("--results DIR"), HasSubstr("--limit N"), HasSubstr("acc+")));
}

}  // namespace
}  // namespace skymm
