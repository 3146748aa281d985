// The main of an MPI test: every rank runs all GoogleTest cases together, on the job's communicator `ranks()`. Where
// the environment variable SKYMM_TEST_TRANSPORT is nccl, it moves tensors of the tested device by NCCL.
#pragma once

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <utility>

#include "core/error.hpp"
#include "parallel/communicator.hpp"
#include "parallel/nccl_communicator.hpp"
#include "support/support.hpp"

namespace skymm::testing {

inline std::unique_ptr<Communicator>& world_of_tests() {
  static std::unique_ptr<Communicator> world;
  return world;
}
inline Communicator& ranks() { return *world_of_tests(); }

inline bool tests_nccl() {
  const char* transport = std::getenv("SKYMM_TEST_TRANSPORT");
  return transport != nullptr && std::string_view(transport) == "nccl";
}

// As a grid does with its communicators. Where NCCL cannot be tested, all ranks end with 77, "skipped".
inline void prepare_transport() {
  if (!tests_nccl()) return;
  try {
    world_of_tests() = connect(std::move(world_of_tests()), tested_device(), Transport::nccl);
  } catch (const Error& error) {
    std::fprintf(stderr, "skipped: %s\n", error.message().c_str());
    std::_Exit(77);
  }
  ranks().prepare(Communicator::Traffic::collectives);
  ranks().prepare(Communicator::Traffic::messages);
}

// A line for each case and rank, so that the time-out of tests/support/mpirun can tell who hangs where.
class Progress final : public ::testing::EmptyTestEventListener {
  void OnTestStart(const ::testing::TestInfo& test) override { say("runs", test); }
  void OnTestPartResult(const ::testing::TestPartResult& result) override {
    if (!result.failed()) return;
    std::fprintf(stderr, "rank %d: %s:%d: %s\n", process_rank(), result.file_name(), result.line_number(),
                 result.message());
  }
  void OnTestEnd(const ::testing::TestInfo& test) override {
    say(test.result()->Passed() ? "passed" : test.result()->Skipped() ? "skipped" : "FAILED", test);
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
    prepare_transport();
    auto& listeners = ::testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new Progress);
    const int failed = RUN_ALL_TESTS();
    world_of_tests().reset();
    return failed;
  });
}

}  // namespace skymm::testing
