// The main of an MPI test: every rank runs all GoogleTest cases together, on the job's communicator `ranks()`.
#pragma once

#include <gtest/gtest.h>

#include <cstdio>
#include <memory>

#include "core/error.hpp"
#include "parallel/communicator.hpp"

namespace skymm::testing {

inline std::unique_ptr<Communicator>& world_of_tests() {
  static std::unique_ptr<Communicator> world;
  return world;
}
inline Communicator& ranks() { return *world_of_tests(); }

// A line for each case and rank, so that the time-out of tests/support/mpirun can tell who hangs where.
class Progress final : public ::testing::EmptyTestEventListener {
  void OnTestStart(const ::testing::TestInfo& test) override { say("runs", test); }
  void OnTestPartResult(const ::testing::TestPartResult& result) override {
    if (!result.failed()) return;
    std::fprintf(stderr, "rank %d: %s:%d: %s\n", process_rank(), result.file_name(), result.line_number(),
                 result.message());
  }
  void OnTestEnd(const ::testing::TestInfo& test) override {
    say(test.result()->Passed() ? "passed" : "FAILED", test);
    ranks().barrier();
  }
  static void say(const char* what, const ::testing::TestInfo& test) {
    std::fprintf(stderr, "rank %d: %s %s.%s\n", process_rank(), what, test.test_suite_name(), test.name());
  }
};

// A failure on any rank fails the job. least: ranks that make sense.
inline int run_mpi_tests(int argc, char** argv, int least = 2) {
  ::testing::InitGoogleTest(&argc, argv);
  return run_ranks([least] {
    world_of_tests() = world();
    check(ranks().size() >= least, "this test needs {} ranks; run it by tests/support/mpirun {} BINARY", least, least);
    auto& listeners = ::testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new Progress);
    const int failed = RUN_ALL_TESTS();
    world_of_tests().reset();
    return failed;
  });
}

}  // namespace skymm::testing
