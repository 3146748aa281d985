#include "launch/training/run_log.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <sstream>

#include "io/file.hpp"
#include "support/text.hpp"

namespace skymm {
namespace {

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

}  // namespace
}  // namespace skymm
