#include "launch/command.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "io/dataset.hpp"
#include "launch/config/exit_code.hpp"

namespace skymm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

struct Outcome {
  int code;
  std::string out, err;
};

Outcome run(const std::vector<std::string>& arguments) {
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  Outcome outcome;
  outcome.code = run_command_line(arguments);
  outcome.out = ::testing::internal::GetCapturedStdout();
  outcome.err = ::testing::internal::GetCapturedStderr();
  return outcome;
}

class CommandLine : public ::testing::Test {
 protected:
  CommandLine() : folder_(::testing::TempDir() + "skymm_command") { std::filesystem::create_directories(folder_); }
  ~CommandLine() override { std::filesystem::remove_all(folder_); }

  std::string dataset(const std::string& name) const {
    DatasetWriter writer(folder_ + "/" + name, R"({"seed": 7})");
    for (int i = 0; i < 3; ++i) {
      Sample sample;
      sample.id = fmt::format("s{}", i);
      sample.language = i == 0 ? Language::chinese : Language::english;
      sample.source = "canvas";
      sample.images = {"pixels"};
      sample.parts = {
          image_part(0), text_part("Is there a cat?"),
          answer_part(i == 0 ? "否" : "yes", "existence", i == 0 ? Polarity::negative : Polarity::positive)};
      writer.add(sample);
    }
    writer.close();
    return folder_ + "/" + name;
  }

  std::string folder_;
};

TEST_F(CommandLine, ALimitOfFileSizesIsAnErrorThatSaysSo) {
  const auto write_much = [&] {
    struct rlimit limit {};
    ::getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = 10000;
    ::setrlimit(RLIMIT_FSIZE, &limit);
    std::_Exit(
        run_command_line({"weights", "synthesize", "--preset", "pico", "--out", folder_ + "/weights.safetensors"}));
  };
  EXPECT_EXIT(write_much(), ::testing::ExitedWithCode(1), "File too large");
}

TEST_F(CommandLine, HelpAndVersionSucceed) {
  EXPECT_THAT(run({"--version"}).out, HasSubstr("skymm 0."));
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"--help"},
                                                    {"data", "--help"},
                                                    {"data", "build", "--help"},
                                                    {"data", "build", "picturebook", "--help"},
                                                    {"data", "build", "picturebook-mme", "--help"},
                                                    {"data", "build", "picturebook-mmbench", "--help"},
                                                    {"data", "build", "picturebook-pope", "--help"},
                                                    {"data", "inspect", "--help"},
                                                    {"data", "verify", "--help"},
                                                    {"train", "--help"},
                                                    {"plan", "--help"}}) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.code, 0);
    EXPECT_THAT(outcome.out, HasSubstr("skymm")) << arguments.front();
    EXPECT_EQ(outcome.err, "");
  }
}

TEST_F(CommandLine, HelpTellsEachExitCode) {
  const std::string help = run({"--help"}).out;
  for (const ExitCode& row : exit_codes()) {
    const std::string meaning = row.meaning;
    EXPECT_THAT(help, ::testing::ContainsRegex(fmt::format("\n  {} +{}", row.code, meaning.substr(0, 12))));
  }
}

TEST_F(CommandLine, WrongUseEndsWithTwo) {
  EXPECT_EQ(run({}).code, 2);
  const auto refuses = [](const std::vector<std::string>& arguments, const std::string& message) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.code, 2);
    EXPECT_THAT(outcome.err, HasSubstr(message));
  };
  refuses({"tran"}, "'skymm tran' is not a command, did you mean 'train'");
  refuses({"data", "inspekt"}, "did you mean 'inspect'");
  refuses({"data", "build", "picturebook", "--scal", "2"}, "did you mean '--scale'");
  refuses({"data", "build", "picturebook", "--scale", "many"}, "--scale: 'many' is not a number");
  refuses({"data", "build", "picturebook", "--scale", "0"}, "more than 0");
  refuses({"data", "build", "picturebook-pope", "--pictures", "0"}, "--pictures: 0 is out of range: at least 1");
  refuses({"data", "build", "picturebook-mme", "--pictures", "80001"}, "at most 80000");
  refuses({"data", "inspect"}, "which data set");
  refuses({"data", "verify", "a", "b"}, "'b' is not expected");
  refuses({"data", "inspect", "a", "--sample"}, "--sample");
  refuses({"train", "--train.stesp", "3"}, "did you mean '--train.steps'");
}

TEST_F(CommandLine, OneRankComplainsForAll) {
  setenv("OMPI_COMM_WORLD_RANK", "1", 1);
  const Outcome outcome = run({"tran"});
  unsetenv("OMPI_COMM_WORLD_RANK");
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(outcome.err, "");
}

TEST_F(CommandLine, ErrorsEndWithOne) {
  const Outcome outcome = run({"data", "inspect", folder_ + "/absent.h5"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("there is no data set"));
}

TEST_F(CommandLine, InspectSaysWhatASetHolds) {
  const Outcome outcome = run({"data", "inspect", dataset("a.h5"), "--sample", "1"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(outcome.out,
              AllOf(HasSubstr("3 samples, 1 different pictures"), HasSubstr("English"), HasSubstr("66.7 %"),
                    HasSubstr("existence"), HasSubstr("negative"), HasSubstr("canvas")));
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("id s0"), HasSubstr("text    Is there a cat?"), HasSubstr("answer  否")));
  EXPECT_THAT(outcome.out, ::testing::Not(HasSubstr("id s1")));
}

TEST_F(CommandLine, VerifyNamesTheDamagedFileOfAFolder) {
  dataset("a.h5");
  const std::string damaged = dataset("b.h5");
  EXPECT_EQ(run({"data", "verify", folder_}).code, 0);
  std::string bytes;
  {
    std::ifstream file(damaged, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(file), {});
  }
  const std::size_t at = bytes.find("pixels");
  ASSERT_NE(at, std::string::npos);
  bytes[at] = 'P';
  std::ofstream(damaged, std::ios::binary) << bytes;
  const Outcome outcome = run({"data", "verify", folder_});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("a.h5: 3 samples, 1 pictures, all whole"), HasSubstr("b.h5: DAMAGED: ")));
}

}  // namespace
}  // namespace skymm
