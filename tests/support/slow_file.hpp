// A file that takes long to read: a FIFO, whose reader waits for so long before its bytes come. It can be read once.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <thread>
#include <utility>

#include "core/error.hpp"

namespace skymm::testing {

class SlowFile {
 public:
  // bytes: less than a pipe holds, 64 KiB.
  SlowFile(std::string path, std::string bytes, std::chrono::milliseconds delay) : path_(std::move(path)) {
    check(::mkfifo(path_.c_str(), 0600) == 0, "{} cannot be made", path_);
    writer_ = std::thread([this, bytes = std::move(bytes), delay] {
      const int fd = ::open(path_.c_str(), O_WRONLY | O_CLOEXEC);  // waits for the reader
      std::this_thread::sleep_for(delay);
      [[maybe_unused]] const auto written = ::write(fd, bytes.data(), bytes.size());
      ::close(fd);
    });
  }
  ~SlowFile() {
    const int fd = ::open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);  // where nobody came to read
    writer_.join();
    ::close(fd);
  }
  SlowFile(const SlowFile&) = delete;
  SlowFile& operator=(const SlowFile&) = delete;

 private:
  std::string path_;
  std::thread writer_;
};

}  // namespace skymm::testing
