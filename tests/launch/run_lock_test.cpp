#include "launch/training/run_lock.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <optional>

#include "support/text.hpp"

namespace skymm {
namespace {

using ::testing::AllOf;
using testing::error_of;
using ::testing::HasSubstr;

TEST(RunLock, OneAtATime) {
  const testing::TemporaryFolder folder;
  const std::string run = folder.file("a/run");
  std::optional<RunLock> first(std::in_place, run);
  EXPECT_THAT(error_of([&] { RunLock second(run); }),
              AllOf(HasSubstr(run), HasSubstr(fmt::format("process {}", ::getpid())), HasSubstr("another run.dir")));
  EXPECT_THROW(RunLock second(run), RunInUse);
  const RunLock elsewhere(folder.file("b"));
  first.reset();
  const RunLock third(run);
}

TEST(RunLock, EndsWithItsProcess) {
  const testing::TemporaryFolder folder;
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const RunLock held(folder.path());
    if (::write(ready[1], "x", 1) != 1) ::_exit(1);
    ::pause();
    ::_exit(0);
  }
  char x = 0;
  ASSERT_EQ(::read(ready[0], &x, 1), 1);
  EXPECT_THROW(RunLock second(folder.path()), RunInUse);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  const RunLock second(folder.path());
  ::close(ready[0]);
  ::close(ready[1]);
}

}  // namespace
}  // namespace skymm
