#include "parallel/stacks.hpp"

#include <pthread.h>

#include <atomic>
#include <csignal>
#include <thread>

#include "io/file.hpp"
#include "support/text.hpp"

namespace skymm {
namespace {

using ::testing::HasSubstr;

// A thread that goes on until the object goes, and that blocks all signals if asked to.
class BusyThread {
 public:
  BusyThread(const char* name, bool blocks)
      : thread_([this, name, blocks] {
          pthread_setname_np(pthread_self(), name);
          sigset_t all;
          sigfillset(&all);
          if (blocks) pthread_sigmask(SIG_SETMASK, &all, nullptr);
          ready_ = true;
          while (!stop_) std::this_thread::yield();
        }) {
    while (!ready_) std::this_thread::yield();
  }
  ~BusyThread() {
    stop_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> stop_{false}, ready_{false};
  std::thread thread_;
};

TEST(Stacks, OfAllThreadsAreWritten) {
  const testing::TemporaryFolder folder;
  EXPECT_EQ(write_stacks("nowhere to write to"), "");
  set_stacks_folder(folder.path());
  std::string path;
  {
    const BusyThread busy("busy", false), deaf("deaf", true);
    path = write_stacks("a reason");
  }
  set_stacks_folder("");
  EXPECT_EQ(path, folder.file("stacks/rank_0.txt"));
  const std::string text = read_file(path);
  EXPECT_TRUE(text.starts_with("a reason\n")) << text;
  const auto of = [&](const std::string& name) {
    const std::size_t begin = text.find("(" + name + ")");
    return begin == std::string::npos ? "" : text.substr(begin, text.find("\nthread", begin) - begin);
  };
  EXPECT_THAT(of("busy"), HasSubstr("libc.so"));  // where every thread begins
  EXPECT_THAT(of("deaf"), HasSubstr("it does not answer"));
}

}  // namespace
}  // namespace skymm
