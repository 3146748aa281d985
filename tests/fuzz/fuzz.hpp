// What the fuzz harnesses share. Each is a libFuzzer program of its own: whatever bytes come in, they are read or
// refused with an Error; anything else that happens (another exception, a bad access, a runaway allocation) is a bug.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "core/error.hpp"

namespace skymm::fuzz {

// The bytes of one input as a file in memory, for readers that take a path. There is one at a time.
class InputFile {
 public:
  explicit InputFile(std::string_view bytes) {
    check(::ftruncate(fd(), 0) == 0 && ::pwrite(fd(), bytes.data(), bytes.size(), 0) == std::ssize(bytes),
          "an input of {} bytes could not be kept in memory", bytes.size());
  }
  std::string path() const { return fmt::format("/proc/self/fd/{}", fd()); }

 private:
  static int fd() {
    static const int made = ::memfd_create("input", MFD_CLOEXEC);
    return made;
  }
};

// Runs `read`; an Error is a proper answer to bad bytes.
template <class Read>
void read_or_refuse(Read&& read) {
  try {
    read();
  } catch (const Error&) {
  }
}

inline std::string_view bytes_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace skymm::fuzz
