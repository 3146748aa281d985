#include "launch/training/run_log.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/log.hpp"
#include "io/file.hpp"
#include "support/text.hpp"

namespace skymm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class RunLogTest : public ::testing::Test {
 protected:
  RunLogTest() { config_.run.dir = folder_.file("run"); }

  // Of those lines of metrics.jsonl that are whole.
  std::vector<nlohmann::json> lines() const {
    std::vector<nlohmann::json> whole;
    std::istringstream text(read_file(config_.run.dir + "/metrics.jsonl"));
    for (std::string line; std::getline(text, line);) {
      nlohmann::json entry = nlohmann::json::parse(line, nullptr, false);
      if (entry.is_object()) whole.push_back(std::move(entry));
    }
    return whole;
  }

  testing::TemporaryFolder folder_;
  TrainConfig config_;
};

TEST_F(RunLogTest, GoesOnOnceThereIsRoomAgain) {
  std::signal(SIGXFSZ, SIG_IGN);
  RunLog log(config_, true);
  log.step({.step = 1, .loss = 3});
  struct rlimit before {};
  ::getrlimit(RLIMIT_FSIZE, &before);
  struct rlimit full = before;
  full.rlim_cur = read_file(config_.run.dir + "/metrics.jsonl").size() + 10;  // the next line is cut off
  ::setrlimit(RLIMIT_FSIZE, &full);
  log.step({.step = 2, .loss = 2});
  log.step({.step = 3, .loss = 1.5});
  ::setrlimit(RLIMIT_FSIZE, &before);
  log.step({.step = 4, .loss = 1});
  log.figure(4, "validation loss", 1.25);
  const std::vector<nlohmann::json> written = lines();
  ASSERT_GE(written.size(), 3U);  // with a line that was under way
  EXPECT_EQ(written[0]["step"], 1);
  EXPECT_EQ(written.rbegin()[1]["step"], 4);
  EXPECT_EQ(written.rbegin()[0]["validation loss"], 1.25);
}

TEST_F(RunLogTest, BadSamplesAndCutsAreThoseOfTheWholeRun) {
  std::string totals;
  {
    RunLog log(config_, true);
    log.step({.step = 1, .bad_samples = 2});
    log.step({.step = 2, .bad_samples = 3, .cut = 5});
    totals = log.totals();
  }
  RunLog log(config_, true);
  log.restore_totals(totals);
  log.step({.step = 3, .bad_samples = 1, .cut = 2});  // that this process has seen
  EXPECT_EQ(lines().back()["bad_samples"], 4);
  EXPECT_EQ(lines().back()["cut"], 7);
  EXPECT_EQ(nlohmann::json::parse(log.totals())["bad_samples"], 4);
}

class Empty final : public SampleSource {
 public:
  explicit Empty(std::int64_t size) : size_(size) {}
  std::int64_t size() const override { return size_; }
  Sample read(std::int64_t) const override { return {}; }

 private:
  std::int64_t size_;
};

TEST_F(RunLogTest, TellsTheEpochsOfEachDataSet) {
  config_.data.train = {{"large", 1, 1}, {"small", 1, 2}};
  config_.train.steps = 50;
  config_.train.global_batch = 1000;
  const Mixture mixture({std::make_shared<Empty>(100'000), std::make_shared<Empty>(30)},
                        {.source_weights = {100'000, 60}});
  RunLog log(config_, true);
  const LogLevel before = log_level();
  set_log_level(LogLevel::info);
  ::testing::internal::CaptureStderr();
  log.epochs_ahead(mixture, 50'000);
  log.mixture(50, mixture, 50'000);
  set_log_level(before);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr("epochs that 50 steps of 1000 samples make: large 0.50 of 1, small 1.00 of 2"),
                    HasSubstr("small 0.06% (1.00 epochs)")));
}

}  // namespace
}  // namespace skymm
