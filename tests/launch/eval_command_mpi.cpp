#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "io/base64.hpp"
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
    const std::vector<MmeTask> tasks = read_mme(folder.file("mme/") + language);
    const auto mine = answer_mme(run, alone, tasks).results, shared = answer_mme(run, ranks(), tasks).results;
    ASSERT_EQ(shared.size(), mine.size());
    for (std::size_t t = 0; t < mine.size(); ++t) {
      ASSERT_EQ(shared[t].size(), mine[t].size());
      for (std::size_t q = 0; q < mine[t].size(); ++q) EXPECT_EQ(shared[t][q].response, mine[t][q].response);
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

TEST(EvalCommand, AsksMmbenchAndPopeOverTheRanks) {
  const SharedFolder folder;
  prepare(folder);
  if (ranks().rank() == 0) {
    std::string rows = "index\tquestion\thint\tA\tB\tC\tanswer\tcategory\timage\tl2-category\n", lines;
    for (int i = 0; i < 3; ++i) {
      rows += fmt::format("{}\tWhat is it?\tnan\tpanda\tdumpling\tkite\tB\tthing\t{}\t{}\n", i,
                          encode_base64(tiny_picture(i)), i == 0 ? "LR" : "CP");
      write_file(folder.file(fmt::format("{}.png", i)), tiny_picture(i));
      for (const char* label : {"yes", "no"}) {
        lines +=
            fmt::format(R"({{"question_id": {0}, "image": "{0}.png", "text": "Is there a kite?", "label": "{1}"}})", i,
                        label) +
            "\n";
      }
    }
    write_file(folder.file("mmbench.tsv"), rows);
    write_file(folder.file("pope_popular.json"), lines);
  }
  ranks().barrier();
  EXPECT_EQ(
      eval_command({"mmbench", "--run", folder.file("run"), "--data", folder.file("mmbench.tsv"), "--tokens", "2"}), 0);
  EXPECT_EQ(eval_command({"pope", "--run", folder.file("run"), "--data", folder.file("pope_popular.json"), "--images",
                          folder.file("."), "--after", " Please answer yes or no."}),
            0);
  ranks().barrier();
  const auto mmbench = nlohmann::json::parse(read_file(folder.file("run/eval/mmbench.json")));
  EXPECT_EQ(mmbench.at("all").at("questions"), 3);
  EXPECT_EQ(mmbench.at("all").at("rotations"), 9);
  EXPECT_EQ(mmbench.at("l2").size(), 2U);
  EXPECT_EQ(mmbench.at("l2").at(0).at("name"), "CP");
  const std::string answers = read_file(folder.file("run/eval/mmbench.tsv"));
  EXPECT_EQ(std::count(answers.begin(), answers.end(), '\n'), 10);
  const auto pope = nlohmann::json::parse(read_file(folder.file("run/eval/pope.json"))).at("splits").at(0);
  EXPECT_EQ(pope.at("split"), "popular");
  EXPECT_EQ(pope.at("questions"), 6);
  // The same picture and question, once with each label: one of the two is right.
  EXPECT_DOUBLE_EQ(pope.at("accuracy").get<double>(), 0.5);
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
  const auto pope = nlohmann::json::parse(read_file(folder.file("run/eval/pope.json"))).at("splits").at(0);
  EXPECT_EQ(pope.at("questions"), 7);
  EXPECT_EQ(pope.at("unasked").at("count"), 0);
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
