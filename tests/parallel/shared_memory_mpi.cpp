// Memory that ranks share: what one writes all see, it has no name that could be left behind, and ranks of other nodes
// have their own.
#include <cstring>
#include <fstream>
#include <limits>

#include "core/error.hpp"
#include "parallel/gather_text.hpp"
#include "parallel/shared_memory.hpp"
#include "support/mpi_main.hpp"
#include "support/text.hpp"

namespace skymm::testing {
namespace {

using ::testing::HasSubstr;

constexpr std::size_t mib = std::size_t{1} << 20;

// Each rank in turn writes a part of `bytes` bytes, which it fills with its number plus one.
std::vector<const char*> write_in_turn(SharedMemory& memory, const Communicator& node, std::size_t bytes) {
  std::vector<const char*> parts;
  for (int writer = 0; writer < node.size(); ++writer) {
    memory.set_writing(writer == node.rank());
    auto* const part = static_cast<char*>(memory.allocate(bytes));
    if (writer == node.rank()) std::memset(part, writer + 1, bytes);
    parts.push_back(part);
  }
  return parts;
}

// The line of /proc/self/maps for the mapping that holds `at`.
std::string mapping_of(const char* at) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    const std::size_t begin = std::stoull(line, nullptr, 16);
    const std::size_t end = std::stoull(line.substr(line.find('-') + 1), nullptr, 16);
    const auto address = reinterpret_cast<std::size_t>(at);
    if (begin <= address && address < end) return line;
  }
  return "";
}

TEST(SharedMemory, AllRanksReadWhatOneWrote) {
  const std::unique_ptr<Communicator> node = split_by_node(ranks());
  ASSERT_EQ(node->size(), ranks().size());
  ASSERT_EQ(node->rank(), ranks().rank());
  const SharedMemory::Made made = SharedMemory::make(*node, 8 * mib);
  ASSERT_NE(made.memory, nullptr) << made.problem;
  const std::size_t bytes = mib + 5;  // parts of two writers lie on one page
  const std::vector<const char*> parts = write_in_turn(*made.memory, *node, bytes);
  made.memory->seal(*node);
  for (int writer = 0; writer < node->size(); ++writer) {
    const std::string part(parts[static_cast<std::size_t>(writer)], bytes);
    EXPECT_EQ(part, std::string(bytes, static_cast<char>(writer + 1)));
  }
  EXPECT_EQ(made.memory->used(), static_cast<std::size_t>(node->size()) * (mib + 64));
  EXPECT_EQ(reinterpret_cast<std::size_t>(parts[1]) % 64, 0U);
}

TEST(SharedMemory, HasNoFileAndIsReadOnlyOnceComplete) {
  const std::unique_ptr<Communicator> node = split_by_node(ranks());
  const SharedMemory::Made made = SharedMemory::make(*node, mib);
  ASSERT_NE(made.memory, nullptr) << made.problem;
  const std::vector<const char*> parts = write_in_turn(*made.memory, *node, 1000);
  EXPECT_THAT(mapping_of(parts[0]), HasSubstr("rw-s"));
  made.memory->seal(*node);
  EXPECT_THAT(mapping_of(parts[0]), HasSubstr("r--s"));
  EXPECT_THAT(mapping_of(parts[0]), HasSubstr("/memfd:skymm-frozen-weights (deleted)"));
  EXPECT_THROW(made.memory->allocate(1), Error);
}

TEST(SharedMemory, RanksOfOtherNodesHaveTheirOwn) {
  const bool odd = ranks().rank() % 2 == 1;  // as though they ran elsewhere
  const std::unique_ptr<Communicator> node = split_by_node(ranks(), odd ? "odd" : "even");
  EXPECT_EQ(node->size(), odd ? ranks().size() / 2 : (ranks().size() + 1) / 2);
  EXPECT_EQ(node->rank(), ranks().rank() / 2);
  const SharedMemory::Made made = SharedMemory::make(*node, mib);
  ASSERT_NE(made.memory, nullptr) << made.problem;
  made.memory->set_writing(node->rank() == 0);
  auto* const value = static_cast<int*>(made.memory->allocate(sizeof(int)));
  if (node->rank() == 0) *value = odd ? 11 : 22;
  made.memory->seal(*node);
  EXPECT_EQ(*value, odd ? 11 : 22);
}

TEST(SharedMemory, WhatASystemRefusesIsToldToAll) {
  const std::unique_ptr<Communicator> node = split_by_node(ranks());
  const SharedMemory::Made made = SharedMemory::make(*node, std::numeric_limits<std::size_t>::max() / 4);
  EXPECT_EQ(made.memory, nullptr);
  EXPECT_NE(made.problem, "");
  for (const std::string& problem : gather_text(ranks(), made.problem)) EXPECT_EQ(problem, made.problem);
}

TEST(SharedMemory, RefusesMoreThanItHasAndOtherLayouts) {
  const std::unique_ptr<Communicator> node = split_by_node(ranks());
  const SharedMemory::Made made = SharedMemory::make(*node, mib);
  ASSERT_NE(made.memory, nullptr) << made.problem;
  EXPECT_THAT(error_of([&] { made.memory->allocate(2 * mib); }), HasSubstr("more than the 1048576 bytes"));
  made.memory->allocate(ranks().rank() == 0 ? 100 : 200);
  EXPECT_THAT(error_of([&] { made.memory->seal(*node); }), HasSubstr("128 bytes in 1 parts and 256 bytes in 1 parts"));
}

}  // namespace
}  // namespace skymm::testing

int main(int argc, char** argv) { return skymm::testing::run_mpi_tests(argc, argv); }
