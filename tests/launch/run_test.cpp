#include "launch/evaluation/run.hpp"

#include <gtest/gtest.h>

#include "core/error.hpp"
#include "support/tiny_run.hpp"

namespace skymm {
namespace {

void replace(std::string& text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  check(at != std::string::npos, "there is no '{}' in\n{}", from, text);
  text.replace(at, from.size(), to);
}

TEST(OpenRun, OnTheCpuLeavesOutWhatIsForGpus) {
  const testing::TemporaryFolder folder;
  testing::write_tiny_run(folder.path());
  std::string config = read_file(folder.file("config.ini"));
  replace(config, "\ndevice = cpu", "\ndevice = cuda");
  replace(config, "\ncudnn = none", "\ncudnn = attention");
  replace(config, "\ndtype = f32", "\ndtype = bf16");
  write_file(folder.file("config.ini"), config);
  const skymm::Run run = open_run(folder.path(), "cpu");
  EXPECT_EQ(run.config.run.device, "cpu");
  EXPECT_TRUE(run.config.run.cudnn.empty());
}

}  // namespace
}  // namespace skymm
