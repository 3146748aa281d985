#include "parallel/stacks.hpp"

#include <execinfo.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "core/error.hpp"

namespace skymm {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

constexpr int most_frames = 64;
constexpr milliseconds patience{200};  // with one thread

std::mutex mutex;  // of the folder, and of writing
std::string folder;

// For the handler: where to write, and that it has. One thread is asked at a time.
std::atomic<int> output{-1};
std::atomic<bool> answered{false};

int stack_signal() { return SIGRTMIN + 3; }

// In the thread that is asked. backtrace() was called before, so that it has nothing left to load.
void write_own_stack(int) {
  const int before = errno;
  void* frames[most_frames];
  const int count = backtrace(frames, most_frames);
  backtrace_symbols_fd(frames, count, output);
  answered = true;
  errno = before;
}

void install_handler() {
  void* frame = nullptr;
  backtrace(&frame, 1);
  struct sigaction action {};
  action.sa_handler = write_own_stack;
  action.sa_flags = SA_RESTART | SA_ONSTACK;
  sigaction(stack_signal(), &action, nullptr);
}

std::string name_of_thread(const std::string& thread) {
  std::string name;
  std::getline(std::ifstream("/proc/self/task/" + thread + "/comm"), name);
  return name;
}

void say(int fd, const std::string& text) {
  [[maybe_unused]] const auto written = ::write(fd, text.data(), text.size());
}

void ask(int fd, const std::string& thread) {
  say(fd, fmt::format("\nthread {} ({})\n", thread, name_of_thread(thread)));
  answered = false;
  if (::syscall(SYS_tgkill, ::getpid(), std::atoi(thread.c_str()), stack_signal()) != 0) return;
  for (milliseconds waited{0}; !answered && waited < patience; waited += milliseconds(1)) {
    std::this_thread::sleep_for(milliseconds(1));
  }
  if (!answered) say(fd, "  (it does not answer: it blocks signals, or is stuck in the kernel)\n");
}

}  // namespace

void set_stacks_folder(const std::string& run_dir) {
  const std::lock_guard lock(mutex);
  folder = run_dir.empty() ? "" : run_dir + "/stacks";
  if (!folder.empty()) install_handler();
}

std::string write_stacks(const std::string& why) {
  const std::lock_guard lock(mutex);
  if (folder.empty()) return "";
  std::error_code error;
  fs::create_directories(folder, error);
  const std::string path = fmt::format("{}/rank_{}.txt", folder, process_rank());
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) return "";
  output = fd;
  say(fd, fmt::format("{}\n", why));
  const std::string own = std::to_string(::syscall(SYS_gettid));
  for (const auto& entry : fs::directory_iterator("/proc/self/task", error)) {
    if (const std::string thread = entry.path().filename(); thread != own) ask(fd, thread);
  }
  say(fd, "\n");
  ::close(fd);
  return path;
}

}  // namespace skymm
