// skymm plan for a recipe: it answers without loading a model, and says where nothing fits.
#include "launch/plan_command.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launch/assembly/layout.hpp"
#include "launch/config/options.hpp"
#include "support/tiny_run.hpp"

namespace skymm::testing {
namespace {

struct Answer {
  int code = 0;
  std::string text;
};

Answer answer(std::vector<std::string> arguments) {
  ::testing::internal::CaptureStdout();
  const int code = plan_command(arguments);
  return {code, ::testing::internal::GetCapturedStdout()};
}

TEST(PlanCommand, ListsWhatFitsAndFailsWhereNothingDoes) {
  const std::string dir = ::testing::TempDir() + "/plan_command";
  std::filesystem::create_directories(dir);
  TrainConfig config;
  config.model.decoder = "pico";
  config.model.vision = "vit-pico";
  config.model.queries = 4;
  config.model.tokenizer = dir + "/absent.model";
  config.data.train = {{"none.h5"}};
  write_file(dir + "/config.ini", to_ini(config));
  const std::vector<std::string> base{"--config", dir + "/config.ini", "--ranks", "2", "--gflops", "100"};
  const auto with = [&](std::initializer_list<std::string> more) {
    std::vector<std::string> all = base;
    all.insert(all.end(), more);
    return all;
  };
  const Answer all = answer(base);
  EXPECT_EQ(all.code, 0);
  EXPECT_THAT(all.text, ::testing::ContainsRegex("1 +2 +1f1b +1 +0 .* fits"));
  EXPECT_THAT(all.text, ::testing::ContainsRegex("2 +1 +- +1 +1 .* fits"));
  EXPECT_THAT(all.text, ::testing::Not(::testing::HasSubstr("one copy")));
  // What it says to train with makes the same cut.
  const auto options = [](const Answer& answer) {
    const std::size_t at = answer.text.find("--parallel.data");
    std::istringstream words(answer.text.substr(at, answer.text.find('\n', at) - at));
    return std::vector<std::string>{std::istream_iterator<std::string>(words), {}};
  };
  const auto cut_by = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"--config", dir + "/config.ini"});
    const TrainConfig by = *parse_config(more);
    return make_layout(by, model_config(by, decoder_preset("pico").vocabulary), 2).pieces;
  };
  const Answer pipelines = answer(with({"--memory", "200M"}));
  EXPECT_THAT(options(pipelines), ::testing::IsSupersetOf({"--parallel.pipeline", "2", "--parallel.cuts"}));
  EXPECT_EQ(cut_by(options(pipelines)), cut_by({"--parallel.pipeline", "2", "--parallel.memory", "200M"}));
  config.parallel.pipeline = 2;  // not where the costs would cut it
  config.parallel.cuts = {"layers.5"};
  write_file(dir + "/cut.ini", to_ini(config));
  const Answer by_hand = answer({"--config", dir + "/cut.ini", "--ranks", "2", "--gflops", "100", "--memory", "200M"});
  EXPECT_THAT(by_hand.text, ::testing::ContainsRegex("  1 .* layers.5 - head"));
  config.parallel.pipeline = 1;
  config.parallel.cuts = {};
  const Answer together = answer(with({"--ranks-per-node", "2"}));
  EXPECT_THAT(together.text, ::testing::HasSubstr("one copy for 2 ranks of a node"));
  config.run.device = "cuda";  // ranks on GPUs have a copy each
  write_file(dir + "/cuda.ini", to_ini(config));
  const Answer on_gpus =
      answer({"--config", dir + "/cuda.ini", "--ranks", "2", "--gflops", "100", "--ranks-per-node", "2"});
  EXPECT_EQ(on_gpus.code, 0);
  EXPECT_THAT(on_gpus.text, ::testing::Not(::testing::HasSubstr("one copy")));
  const auto with_transport = [&](const std::string& name) {
    config.parallel.transport = name;
    write_file(dir + "/transport.ini", to_ini(config));
    return answer({"--config", dir + "/transport.ini", "--ranks", "2", "--gflops", "100"}).text;
  };
  EXPECT_EQ(with_transport("auto"), with_transport("nccl"));  // on GPUs
  EXPECT_NE(with_transport("nccl"), with_transport("mpi"));   // which sums in the host's memory
  for (const char* mode : {"none", "attention.mlp", "full"}) {
    EXPECT_THAT(all.text, ::testing::ContainsRegex(fmt::format("\n  {} +[0-9.e-]+ s .* fits", mode)));
  }
  const Answer none = answer(with({"--memory", "4K"}));
  EXPECT_EQ(none.code, 1);
  EXPECT_THAT(none.text, ::testing::HasSubstr("nothing fits"));
  EXPECT_EQ(answer(with({"--memory", "80G", "--tokens", "64", "--labels", "9"})).code, 0);
  for (const auto& bad : std::vector<std::vector<std::string>>{
           {"--memory", "much"}, {"--memory", "-1G"}, {"--tokens", "4"}, {"--labels", "5000"}}) {
    EXPECT_THROW(answer(with({bad[0], bad[1]})), UsageError) << bad[0] << " " << bad[1];
    ::testing::internal::GetCapturedStdout();
  }
}

}  // namespace
}  // namespace skymm::testing
