// Where the host's blocks lie, and that what is free goes back.
#include "core/host_memory.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <vector>

namespace skymm {
namespace {

struct Block {
  char* at;
  std::size_t bytes;
  char mark;

  bool is_whole() const {
    return std::all_of(at, at + bytes, [this](char c) { return c == mark; });
  }
};

Block marked(void* at, std::size_t bytes, int number) {
  const Block block{static_cast<char*>(at), bytes, static_cast<char>(number)};
  std::memset(at, block.mark, bytes);
  return block;
}

// Counted page by page; the figure in /proc/self/status may be some MiB off on machines of many cores.
double resident_mib() {
  std::ifstream rollup("/proc/self/smaps_rollup");
  for (std::string line; std::getline(rollup, line);) {
    if (line.starts_with("Rss:")) return std::stod(line.substr(4)) / 1024;
  }
  return 0;
}

TEST(HostMemory, BlocksOfAnySizeKeepApart) {
  HostMemory memory;
  std::mt19937 random(1);
  std::vector<Block> blocks;
  for (int i = 0; i < 400; ++i) {
    const std::size_t bytes = 1 + random() % (std::size_t{1} << (10 + random() % 14));  // to 8 MiB
    void* const at = memory.allocate(bytes);
    ASSERT_NE(at, nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(at) % 64, 0U);
    blocks.push_back(marked(at, bytes, i));
    if (i % 2 == 0) continue;
    const std::size_t gone = random() % blocks.size();
    ASSERT_TRUE(blocks[gone].is_whole());
    memory.release(blocks[gone].at, blocks[gone].bytes);
    blocks.erase(blocks.begin() + static_cast<std::ptrdiff_t>(gone));
  }
  for (const Block& block : blocks) {
    EXPECT_TRUE(block.is_whole()) << block.bytes << " bytes";
    memory.release(block.at, block.bytes);
  }
}

TEST(HugePages, NeighboursThatAreFreeAreOnePieceAgain) {
  HugePages pages;
  constexpr std::size_t bytes = (std::size_t{1} << 20) - 64;
  std::vector<char*> blocks(40);
  for (char*& block : blocks) block = static_cast<char*>(pages.allocate(bytes));
  for (std::size_t i = 1; i < blocks.size(); ++i) EXPECT_EQ(blocks[i], blocks[i - 1] + bytes);
  for (const std::size_t first : {0, 2, 1}) {  // the last ones lie between two free pieces
    for (std::size_t i = first; i < blocks.size(); i += first == 1 ? 2 : 4) pages.release(blocks[i], bytes);
  }
  EXPECT_EQ(pages.allocate(40 * bytes), blocks[0]);
  pages.release(blocks[0], 40 * bytes);
}

TEST(HugePages, ABlockMayBeOfAnySize) {
  HugePages pages;
  constexpr std::size_t bytes = (std::size_t{100} << 20) + 1;  // more than what is asked for at once
  auto* const at = static_cast<char*>(pages.allocate(bytes));
  ASSERT_NE(at, nullptr);
  at[0] = at[bytes - 1] = 1;
  pages.release(at, bytes);
  EXPECT_EQ(pages.allocate(bytes), at);
  EXPECT_EQ(pages.allocate(std::size_t{1} << 60), nullptr);
}

TEST(HugePages, WhatIsFreeGoesBackToTheSystem) {
  HugePages pages;
  constexpr std::size_t bytes = std::size_t{1500} << 10;
  std::vector<void*> blocks(32);  // 47 MiB
  const double before = resident_mib();
  for (void*& block : blocks) std::memset(block = pages.allocate(bytes), 1, bytes);
  EXPECT_GT(resident_mib(), before + 46);
  for (std::size_t i = 1; i + 1 < blocks.size(); ++i) pages.release(blocks[i], bytes);
  EXPECT_LT(resident_mib(), before + 12) << "two blocks are left, in at most four huge pages";
  EXPECT_EQ(*static_cast<char*>(blocks[0]), 1);
  EXPECT_EQ(static_cast<char*>(blocks.back())[bytes - 1], 1);
  pages.release(blocks[0], bytes);
  pages.release(blocks.back(), bytes);
  EXPECT_LT(resident_mib(), before + 4);
}

}  // namespace
}  // namespace skymm
