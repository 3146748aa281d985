#include <nlohmann/json.hpp>
#include <optional>

#include "launch/eval_command.hpp"
#include "launch/evaluation/mme_answers.hpp"
#include "launch/evaluation/run.hpp"
#include "parallel/gather_text.hpp"
#include "parallel/watchdog.hpp"
#include "support/mpi_main.hpp"
#include "support/shared_folder.hpp"
#include "support/slow_file.hpp"
#include "support/support.hpp"
#include "support/tiny_run.hpp"

namespace skymm::testing {
namespace {

// On rank 0; the others wait.
void prepare(const SharedFolder& folder) {
  if (ranks().rank() == 0) {
    std::filesystem::create_directories(folder.file("run"));
    write_tiny_run(folder.file("run"));
    write_tiny_mme(folder.file("mme"), 3);
  }
  ranks().barrier();
}

TEST(GatherText, BringsTextsOfAnyLength) {
  const int rank = ranks().rank();
  std::string mine(static_cast<std::size_t>(rank * 1000), 'x');
  if (rank > 0) mine += std::string("\0图", 4);
  const std::vector<std::string> all = gather_text(ranks(), mine);
  ASSERT_EQ(all.size(), static_cast<std::size_t>(ranks().size()));
  EXPECT_EQ(all[0], "");
  EXPECT_EQ(all[1], std::string(1000, 'x') + std::string("\0图", 4));
  EXPECT_EQ(all[static_cast<std::size_t>(rank)], mine);
  EXPECT_EQ(gather_text(ranks(), ""), std::vector<std::string>(all.size()));
}

TEST(EvalCommand, RanksGiveTheAnswersOfOne) {
  const SharedFolder folder;
  prepare(folder);
  skymm::Run run = open_run(folder.file("run"));
  SingleCommunicator alone;
  for (const char* language : {"en", "zh"}) {
    for (const AnswerBy by : {AnswerBy::generation, AnswerBy::likelihood}) {
      const std::vector<MmeTask> tasks = read_mme(folder.file("mme/") + language);
      const auto mine = answer_mme(run, alone, tasks, by).results, shared = answer_mme(run, ranks(), tasks, by).results;
      ASSERT_EQ(shared.size(), mine.size());
      for (std::size_t t = 0; t < mine.size(); ++t) {
        ASSERT_EQ(shared[t].size(), mine[t].size());
        for (std::size_t q = 0; q < mine[t].size(); ++q) EXPECT_EQ(shared[t][q].response, mine[t][q].response);
      }
    }
  }
}

// What a run that goes on has newest may change from one rank's look to the next's; here the others find nothing.
TEST(OpenRun, TakesTheWeightsThatRank0Finds) {
  const SharedFolder folder;
  prepare(folder);
  if (ranks().rank() == 0) {
    std::filesystem::create_directories(folder.file("untrained"));
    std::filesystem::copy(folder.file("run/config.ini"), folder.file("untrained"));
  }
  ranks().barrier();
  const skymm::Run run = open_run(folder.file(ranks().rank() == 0 ? "run" : "untrained"), ranks());
  const SafetensorsReader trained(folder.file("run/trained.safetensors"));
  for (const NamedParameter& entry : trainable_parameters(*run.assembly.model)) {
    EXPECT_EQ(values_of(entry.parameter->value), values_of(trained.read(entry.name))) << entry.name;
  }
}

TEST(EvalCommand, RunsOnSeveralRanks) {
  const SharedFolder folder;
  prepare(folder);
  // More ranks than pictures of a task: some have little or nothing to do.
  EXPECT_EQ(eval_command({"mme", "--run", folder.file("run"), "--data", folder.file("mme/en"), "--limit", "1"}), 0);
  EXPECT_EQ(eval_command({"scenes", "--run", folder.file("run"), "--scenes", "1"}), 0);
  ranks().barrier();
  const auto mme = nlohmann::json::parse(read_file(folder.file("run/eval/mme.json")));
  EXPECT_EQ(mme.at("languages").at("en").at("total").at("questions"), 4);
  EXPECT_EQ(read_mme_results(folder.file("run/eval/mme/en/scene.txt")).size(), 2U);
  const auto scenes = nlohmann::json::parse(read_file(folder.file("run/eval/scenes.json")));
  std::int64_t asked = 0;
  for (const auto& kind : scenes.at("kinds")) asked += kind.at("asked").get<std::int64_t>();
  EXPECT_EQ(asked, 2 * 10);
}

// The figures, without the time at which they were found, which differs from run to run.
nlohmann::json figures(const std::string& path) {
  auto languages = nlohmann::json::parse(read_file(path)).at("languages");
  for (auto& language : languages) language.erase("time");
  return languages;
}

TEST(EvalCommand, AsksMmbenchAndPopeOverTheRanks) {
  const SharedFolder folder;
  prepare(folder);
  if (ranks().rank() == 0) {
    write_tiny_mmbench(folder.file("mmbench"));
    write_tiny_pope(folder.file("pope"));
  }
  ranks().barrier();
  const std::string run = folder.file("run");
  for (const std::string by : {"generation", "likelihood"}) {
    EXPECT_EQ(eval_command({"mmbench", "--run", run, "--data", folder.file("mmbench"), "--by", by}), 0);
    EXPECT_EQ(eval_command({"pope", "--run", run, "--data", folder.file("pope"), "--by", by, "--after", " Say it."}),
              0);
    ranks().barrier();
    const std::string suffix = by == "generation" ? ".json" : "_by_likelihood.json";
    const auto mmbench = figures(run + "/eval/mmbench" + suffix), pope = figures(run + "/eval/pope" + suffix);
    ASSERT_EQ(mmbench.size(), 2U);
    EXPECT_EQ(mmbench.at("en").at("all").at("questions"), 3);
    EXPECT_EQ(mmbench.at("en").at("all").at("rotations"), 9);
    EXPECT_EQ(mmbench.at("en").at("l2").at(0).at("name"), "CP");
    EXPECT_EQ(mmbench.at("zh").at("samples").size(), 9U);
    ASSERT_EQ(pope.size(), 2U);
    EXPECT_EQ(pope.at("zh").at("splits").at(0).at("split"), "random");
    EXPECT_EQ(pope.at("zh").at("splits").at(0).at("questions"), 4);
    EXPECT_DOUBLE_EQ(pope.at("zh").at("splits").at(0).at("accuracy").get<double>(), 0.5);
    EXPECT_EQ(pope.at("en").at("samples").size(), 8U);
  }
}

// Rank 1 gets the second picture, which takes longer to read than a rank may wait in training.
TEST(EvalCommand, RanksThatAreDoneWaitForTheSlowest) {
  const SharedFolder folder;
  prepare(folder);
  if (ranks().rank() == 0) {
    std::string lines;
    for (int i = 0; i < 7; ++i) {
      lines += fmt::format(R"({{"image": "{}.png", "text": "Is there a kite?", "label": "no"}})", i / 6) + "\n";
    }
    write_file(folder.file("pope_random.json"), lines);
    write_file(folder.file("0.png"), tiny_picture(0));
  }
  std::optional<SlowFile> slow;
  if (ranks().rank() == 1) slow.emplace(folder.file("1.png"), tiny_picture(1), std::chrono::seconds(2));
  ranks().barrier();
  set_watchdog_limit(0.5);
  const int code = eval_command(
      {"pope", "--run", folder.file("run"), "--data", folder.file("pope_random.json"), "--images", folder.path()});
  set_watchdog_limit(300);
  EXPECT_EQ(code, 0);
  ranks().barrier();
  const auto pope = figures(folder.file("run/eval/pope.json")).at("en");
  EXPECT_EQ(pope.at("splits").at(0).at("questions"), 7);
  EXPECT_EQ(pope.at("unasked").at("random").at("count"), 0);
}

TEST(EvalCommand, WhatARankCannotAskIsKnownToAll) {
  const SharedFolder folder;
  prepare(folder);
  if (ranks().rank() == 0) write_file(folder.file("mme/en/count/1.png"), "no picture");
  ranks().barrier();
  skymm::Run run = open_run(folder.file("run"));
  const MmeAnswers answers = answer_mme(run, ranks(), read_mme(folder.file("mme/en")));
  ASSERT_EQ(answers.unasked.size(), 2U);
  EXPECT_EQ(answers.unasked[0].question, 2U);
  EXPECT_EQ(answers.unasked[1].question, 3U);
  EXPECT_THAT(answers.unasked[0].why, ::testing::HasSubstr("count/1.png"));
  EXPECT_EQ(answers.results[0][2].response, "");
  EXPECT_NE(answers.results[0][0].response + answers.results[0][4].response + answers.results[1][0].response, "");
}

}  // namespace
}  // namespace skymm::testing

int main(int argc, char** argv) { return skymm::testing::run_mpi_tests(argc, argv); }
