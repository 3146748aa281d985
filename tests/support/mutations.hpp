// Damaged files: a seeded stream of mutations of one that is whole.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <string>

#include "core/error.hpp"

namespace skymm::testing {

// One to three of: another byte, a flipped bit, a cut end, bytes put in or taken out, a number of 4 or 8 bytes replaced
// by an extreme one, a stretch copied elsewhere.
inline std::string mutated(std::string bytes, std::mt19937& random) {
  const auto below = [&](std::size_t n) { return n == 0 ? 0 : random() % n; };
  for (std::size_t times = 1 + below(3); times > 0 && bytes.size() > 16; --times) {
    const std::size_t at = below(bytes.size());
    switch (below(7)) {
      case 0:
        bytes[at] = static_cast<char>(below(256));
        break;
      case 1:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
        break;
      case 2:
        bytes.resize(at);
        break;
      case 3:
        bytes.insert(at, std::string(1 + below(9), static_cast<char>(below(256))));
        break;
      case 4:
        bytes.erase(at, 1 + below(9));
        break;
      case 5: {
        const char fill = std::array{'\0', '\xFF', '\x7F', '\x80'}[below(4)];
        for (std::size_t i = at; i < std::min(at + (below(2) ? 4 : 8), bytes.size()); ++i) bytes[i] = fill;
        break;
      }
      default:
        bytes.replace(at, 8, bytes.substr(below(bytes.size()), 8));
    }
  }
  return bytes;
}

// Not over the old file: some file systems bring a truncated one to disk at once.
inline void write_anew(const std::string& path, const std::string& bytes) {
  std::filesystem::remove(path);
  std::ofstream(path, std::ios::binary) << bytes;
}

// Runs `read` on `count` mutations of `whole`, written to `path`. Each is read, or refused with an Error that names the
// file. Both must happen.
inline void expect_read_or_refused(const std::string& whole, const std::string& path, int count,
                                   const std::function<void()>& read) {
  std::mt19937 random(1);
  int was_read = 0, refused = 0;
  for (int i = 0; i < count; ++i) {
    write_anew(path, mutated(whole, random));
    try {
      read();
      ++was_read;
    } catch (const Error& error) {
      ++refused;
      EXPECT_NE(error.message().find(path), std::string::npos) << error.message();
    }
  }
  EXPECT_GT(was_read, 0);
  EXPECT_GT(refused, count / 4);
  ::testing::Test::RecordProperty("refused", refused);
}

}  // namespace skymm::testing
