// One rank with several chunks: tensors go from chunk to chunk without a message.
#include "parallel/pipeline/executor.hpp"

#include "core/error.hpp"
#include "core/progress.hpp"
#include "support/pipeline.hpp"
#include "support/text.hpp"

namespace skymm::testing {
namespace {

using ::testing::HasSubstr;

TEST(Executor, ChunksOfOneRankGiveTheWholeModelBitForBit) {
  const MultimodalConfig config = pipeline_config();
  const std::vector<Batch> batches = pipeline_batches(config);
  const Result whole = run_whole(config, batches);
  SingleCommunicator alone;
  for (const int chunks : {1, 2, 5}) {
    PipelineRank rank(config, {1, static_cast<int>(batches.size()), chunks}, alone);
    for (int again = 0; again < 2; ++again) {
      const Result trained = rank.train(make_schedule(ScheduleKind::interleaved, rank.shape), batches);
      EXPECT_EQ(trained.loss, whole.loss);
      EXPECT_EQ(trained.gradients, whole.gradients);
    }
  }
}

TEST(Executor, ForwardAloneHasTheLossAndLeavesNoGradient) {
  const MultimodalConfig config = pipeline_config();
  const std::vector<Batch> batches = pipeline_batches(config);
  SingleCommunicator alone;
  PipelineRank rank(config, {1, static_cast<int>(batches.size()), 2}, alone);
  const Result seen = rank.train(make_forward_schedule(rank.shape), batches);
  EXPECT_EQ(seen.loss, run_whole(config, batches).loss);
  for (const auto& [name, gradient] : seen.gradients) EXPECT_THAT(gradient, ::testing::Each(0.0)) << name;
}

TEST(Executor, EachBlockForwardAndBackwardIsProgress) {
  const MultimodalConfig config = pipeline_config();
  SingleCommunicator alone;
  for (const bool overlap : {true, false}) {
    PipelineRank rank(config, {1, 1, 1}, alone, {overlap});
    const std::uint64_t before = progress_made();
    rank.train(make_schedule(ScheduleKind::gpipe, rank.shape), {pipeline_batches(config)[0]});
    EXPECT_GE(progress_made() - before, static_cast<std::uint64_t>(2 * all_blocks(config).size()));
  }
}

TEST(Executor, AScheduleOfAnotherShapeIsRefused) {
  const MultimodalConfig config = pipeline_config();
  SingleCommunicator alone;
  PipelineRank rank(config, {1, 2, 1}, alone);
  const Schedule schedule = make_schedule(ScheduleKind::gpipe, {1, 2, 1});
  EXPECT_THAT(error_of([&] { rank.executor->run(schedule, {pipeline_batches(config)[0]}); }),
              HasSubstr("2 micro-batches"));
}

}  // namespace
}  // namespace skymm::testing
