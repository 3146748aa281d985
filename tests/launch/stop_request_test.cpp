#include "launch/training/stop_request.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "launch/config/config.hpp"
#include "launch/config/exit_code.hpp"
#include "support/text.hpp"

namespace skymm {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

SystemTime in(std::chrono::seconds time) { return std::chrono::system_clock::now() + time; }

class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) { setenv(name, value, 1); }
  ~Environment() { unsetenv(name_); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  const char* name_;
};

TEST(StopRequest, EachSignalAsksOnceItIsListenedTo) {
  for (const auto& [signal, name] : {std::pair(SIGUSR1, "SIGUSR1"), {SIGTERM, "SIGTERM"}, {SIGINT, "SIGINT"}}) {
    const StopSignals signals;
    StopRequest request("none", {});
    EXPECT_FALSE(request.asked());
    std::raise(signal);
    EXPECT_TRUE(request.asked());
    EXPECT_TRUE(request.asked());  // stays so
    EXPECT_EQ(request.reason(), name);
  }
  EXPECT_FALSE(StopRequest("none", {}).asked());  // forgotten with the last StopSignals
}

TEST(StopRequest, ASecondInterruptEndsTheProcessAtOnce) {
  const auto interrupt = [](int first, int second) {
    const StopSignals signals;
    std::raise(first);
    std::raise(second);
    ::_exit(0);
  };
  EXPECT_EXIT(interrupt(SIGINT, SIGINT), ::testing::ExitedWithCode(exit_code::interrupted), "ends at once");
  EXPECT_EXIT(interrupt(SIGINT, SIGTERM), ::testing::ExitedWithCode(0), "");
  EXPECT_EXIT(interrupt(SIGUSR1, SIGUSR1), ::testing::ExitedWithCode(0), "");
}

TEST(StopRequest, TheEndOfTheJobAsksInTime) {
  EXPECT_THAT(testing::error_of([] { StopRequest("10", in(minutes(9))).asked(); }),
              ::testing::HasSubstr("not a step would be done"));
  EXPECT_FALSE(StopRequest("10", in(minutes(11))).asked());
  EXPECT_FALSE(StopRequest("10", {}).asked());
  EXPECT_FALSE(StopRequest("none", in(seconds(-5))).asked());
  EXPECT_FALSE(StopRequest("auto", in(seconds(50))).asked());  // a short job begins
  EXPECT_TRUE(StopRequest("auto", in(seconds(-1))).asked());
}

TEST(StopRequest, AutoKeepsRoomForTheLongestStep) {
  StopRequest request("auto", in(seconds(2)));
  EXPECT_FALSE(request.asked());
  std::this_thread::sleep_for(std::chrono::milliseconds(1200));  // a step: the next may take as long, and then the save
  EXPECT_TRUE(request.asked());
  EXPECT_THAT(request.reason(), ::testing::HasSubstr("the job ends in 1 s"));
}

TEST(StopRequest, AutoKeepsRoomForASave) {
  StopRequest request("auto", in(seconds(1000))), minutes_alone("1", in(seconds(1000)));
  for (StopRequest* each : {&request, &minutes_alone}) {
    EXPECT_FALSE(each->asked());
    each->saving_takes(500);
    EXPECT_FALSE(each->asked());
    each->saving_takes(990);
  }
  EXPECT_TRUE(request.asked());
  EXPECT_FALSE(minutes_alone.asked());
}

TEST(StopRequest, MinutesCountFromTheFirstStepOn) {
  StopRequest request("0.01", std::chrono::system_clock::now() + std::chrono::milliseconds(1200));  // 0.6 s
  EXPECT_FALSE(request.asked());
  std::this_thread::sleep_for(std::chrono::milliseconds(700));
  EXPECT_TRUE(request.asked());
}

TEST(StopRequest, TheEndComesFromSlurm) {
  EXPECT_EQ(job_end_time(), std::nullopt);
  {
    const Environment end("SLURM_JOB_END_TIME", "1700000000");
    EXPECT_EQ(job_end_time(), SystemTime(seconds(1700000000)));
  }
  {
    const Environment end("SLURM_JOB_END_TIME", "soon");
    EXPECT_EQ(job_end_time(), std::nullopt);
  }
}

// A stand-in for scontrol, which says what Slurm's does.
TEST(StopRequest, OlderSlurmIsAskedByItsCommand) {
  const testing::TemporaryFolder folder;
  const auto says = [&](const std::string& end, const std::string& job = "7") {
    const std::string script = folder.file("scontrol");
    FILE* file = std::fopen(script.c_str(), "w");
    std::fprintf(file, "#!/bin/sh\n[ \"$*\" = '--oneliner show job %s' ] && [ \"$SLURM_TIME_FORMAT\" = %%s ] &&\n",
                 job.c_str());
    std::fprintf(file, "echo 'JobId=7 StartTime=1600000000 EndTime=%s Deadline=N/A'\n", end.c_str());
    std::fclose(file);
    std::system(("chmod +x " + script).c_str());
  };
  const Environment path("PATH", (folder.path() + ":/usr/bin:/bin").c_str());
  const Environment job("SLURM_JOB_ID", "7");
  says("1700000000");
  EXPECT_EQ(job_end_time(), SystemTime(seconds(1700000000)));
  says("Unknown");
  EXPECT_EQ(job_end_time(), std::nullopt);
  {
    const Environment array("SLURM_ARRAY_JOB_ID", "7"), task("SLURM_ARRAY_TASK_ID", "3");
    says("1700000000", "7_3");  // of job 7 it would be the whole array's
    EXPECT_EQ(job_end_time(), SystemTime(seconds(1700000000)));
  }
  std::system(("rm " + folder.file("scontrol")).c_str());
  EXPECT_EQ(job_end_time(), std::nullopt);
}

TEST(StopRequest, SaveBeforeEndTakesMinutesAutoOrNone) {
  EXPECT_EQ(parse_save_before_end("auto"), std::nullopt);
  EXPECT_EQ(parse_save_before_end("none"), std::nullopt);
  EXPECT_EQ(parse_save_before_end("2.5"), 2.5);
  for (const char* wrong : {"-1", "soon", "", "5m"}) {
    EXPECT_THAT(testing::error_of([&] { parse_save_before_end(wrong); }), ::testing::HasSubstr("a number of minutes"));
  }
}

}  // namespace
}  // namespace skymm
