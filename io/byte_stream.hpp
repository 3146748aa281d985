// A file read once from its start, byte by byte or line by line, in large blocks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace skymm {

class ByteStream {
 public:
  explicit ByteStream(std::string path);  // throws Error where it cannot be opened
  ~ByteStream();
  ByteStream(const ByteStream&) = delete;
  ByteStream& operator=(const ByteStream&) = delete;

  // Throw Error where the file cannot be read on.
  bool end() { return next_ == have_ && !fill(); }
  char peek() { return next_ < have_ || fill() ? buffer_[next_] : '\0'; }
  void skip() { ++next_; }                                                             // not at the end
  std::int64_t position() const { return begin_ + static_cast<std::int64_t>(next_); }  // of the next byte

  // The bytes up to the next line end, which is left out (also "\r\n"). False at the file's end. A line longer than
  // `longest` is cut there; the rest of it is passed over.
  bool line(std::string& text, std::size_t longest);

  const std::string& path() const { return path_; }

 private:
  bool fill();

  std::string path_;
  int fd_ = -1;
  std::vector<char> buffer_;
  std::size_t next_ = 0, have_ = 0;
  std::int64_t begin_ = 0;  // file offset of the buffer
};

}  // namespace skymm
