#include "io/byte_stream.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/error.hpp"

namespace skymm {

ByteStream::ByteStream(std::string path) : path_(std::move(path)), buffer_(std::size_t{1} << 20) {
  fd_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  check(fd_ >= 0, "cannot open {}: {}", path_, std::strerror(errno));
}

ByteStream::~ByteStream() { ::close(fd_); }

bool ByteStream::fill() {
  begin_ += static_cast<std::int64_t>(have_);
  next_ = have_ = 0;
  ssize_t got = 0;
  do {
    got = ::read(fd_, buffer_.data(), buffer_.size());
  } while (got < 0 && errno == EINTR);
  check(got >= 0, "cannot read {} at byte {}: {}", path_, begin_, std::strerror(errno));
  have_ = static_cast<std::size_t>(got);
  return have_ > 0;
}

bool ByteStream::line(std::string& text, std::size_t longest) {
  text.clear();
  if (end()) return false;
  while (!end()) {
    const char* from = buffer_.data() + next_;
    const auto* stop = static_cast<const char*>(std::memchr(from, '\n', have_ - next_));
    const std::size_t bytes = stop ? static_cast<std::size_t>(stop - from) : have_ - next_;
    text.append(from, std::min(bytes, longest - std::min(longest, text.size())));
    next_ += bytes + (stop ? 1 : 0);
    if (stop) break;
  }
  if (text.ends_with('\r')) text.pop_back();
  return true;
}

}  // namespace skymm
