// A pipeline over all ranks computes what one rank does, bit for bit: each schedule, with and without overlap.
#include "parallel/pipeline/batches.hpp"
#include "parallel/pipeline/executor.hpp"
#include "support/mpi_main.hpp"
#include "support/pipeline.hpp"

namespace skymm::testing {
namespace {

class ExecutorOnRanks : public ::testing::Test {
 protected:
  // Runs the schedule, and holds this rank's gradients, and the last one's loss, to those of the whole model.
  void expect_whole(PipelineRank& rank, const Schedule& schedule) {
    std::vector<Batch> mine;
    if (ranks().rank() == 0) mine = batches;  // the others learn of them from rank 0
    const Result trained = rank.train(schedule, share_batches(ranks(), mine));
    EXPECT_EQ(trained.loss, ranks().rank() + 1 == ranks().size() ? whole.loss : 0.0);
    for (const auto& [name, gradient] : trained.gradients) EXPECT_EQ(gradient, whole.gradients.at(name)) << name;
  }

  const MultimodalConfig config = pipeline_config();
  const std::vector<Batch> batches = pipeline_batches(config);
  const Result whole = run_whole(config, batches);
  const int micro_batches = static_cast<int>(batches.size());
};

TEST_F(ExecutorOnRanks, EverySchedulePassesWithTheSameBits) {
  for (const bool overlap : {true, false}) {
    for (const ScheduleKind kind :
         {ScheduleKind::gpipe, ScheduleKind::one_f_one_b, ScheduleKind::interleaved, ScheduleKind::zero_bubble}) {
      SCOPED_TRACE(fmt::format("{}{}", name_of(kind), overlap ? "" : " without overlap"));
      const PipelineShape shape{ranks().size(), micro_batches, kind == ScheduleKind::interleaved ? 2 : 1};
      PipelineRank rank(config, shape, ranks(), {overlap});
      const Schedule schedule = make_schedule(kind, shape);
      for (int again = 0; again < 2; ++again) expect_whole(rank, schedule);
    }
  }
}

TEST_F(ExecutorOnRanks, AStageWithoutAnythingTrainableWaitsForNoGradient) {
  // All but the last stage hold the frozen ViT only.
  MultimodalConfig lora_only = config;
  lora_only.trainable.resampler = false;
  const Result expected = run_whole(lora_only, batches);
  std::vector<BlockRange> pieces;
  for (int stage = 0; stage + 1 < ranks().size(); ++stage) pieces.push_back({stage, stage + 1});
  pieces.push_back({ranks().size() - 1, all_blocks(lora_only).end});
  const PipelineShape shape{ranks().size(), micro_batches, 1};
  PipelineRank rank(lora_only, shape, ranks(), {}, pieces);
  const Result trained = rank.train(make_schedule(ScheduleKind::one_f_one_b, shape),
                                    share_batches(ranks(), ranks().rank() == 0 ? batches : std::vector<Batch>()));
  EXPECT_EQ(trained.gradients.empty(), ranks().rank() + 1 < ranks().size());
  for (const auto& [name, gradient] : trained.gradients) EXPECT_EQ(gradient, expected.gradients.at(name)) << name;
}

TEST_F(ExecutorOnRanks, RecomputesWithoutThePictures) {
  std::vector<Batch> bare = batches;
  for (Batch& batch : bare) batch.pixels = Tensor();
  for (const Recompute mode : {Recompute::attention_mlp, Recompute::full}) {
    MultimodalConfig again = config;
    again.recompute = mode;
    const PipelineShape shape{ranks().size(), micro_batches, 2};
    PipelineRank rank(again, shape, ranks());
    std::vector<int> asked;
    rank.executor->run(make_schedule(ScheduleKind::interleaved, shape), bare, [&](std::size_t i, Batch& batch) {
      asked.push_back(static_cast<int>(i));
      batch.pixels = batches[i].pixels;
    });
    Result trained;
    take_gradients(*rank.model, trained);
    for (const auto& [name, gradient] : trained.gradients) EXPECT_EQ(gradient, whole.gradients.at(name)) << name;
    EXPECT_EQ(asked, ranks().rank() == 0 ? std::vector<int>({0, 3, 4}) : std::vector<int>());  // 2 has no labels
  }
}

TEST_F(ExecutorOnRanks, MoreMicroBatchesTakeTheFirstStageNoMoreMemory) {
  const auto most = [&](int count) {
    Batch bare = batches[0];
    bare.pixels = Tensor();
    const PipelineShape shape{ranks().size(), count, 1};
    PipelineRank rank(config, shape, ranks());
    CachingAllocator& memory = cpu().allocator();
    memory.reset_peak();
    const std::size_t before = memory.use(Purpose::activations).current;
    const std::vector<Batch> alike(static_cast<std::size_t>(count), bare);
    rank.executor->run(make_schedule(ScheduleKind::one_f_one_b, shape), alike,
                       [&](std::size_t, Batch& batch) { batch.pixels = batches[0].pixels.clone(); });
    return memory.use(Purpose::activations).peak - before;
  };
  const std::size_t few = most(4), many = most(16);
  if (ranks().rank() == 0) {
    EXPECT_LT(many, few + batches[0].pixels.bytes() / 2);
  }
}

TEST_F(ExecutorOnRanks, SharedBatchesAreTheFirstStagesButForPixels) {
  const std::vector<Batch> shared = share_batches(ranks(), ranks().rank() == 0 ? batches : std::vector<Batch>());
  ASSERT_EQ(shared.size(), batches.size());
  for (std::size_t i = 0; i < batches.size(); ++i) {
    EXPECT_EQ(values_of(shared[i].tokens), values_of(batches[i].tokens));
    EXPECT_EQ(values_of(shared[i].row_ids), values_of(batches[i].row_ids));
    EXPECT_EQ(shared[i].row_ids.shape(), batches[i].row_ids.shape());
    EXPECT_EQ(shared[i].max_length, batches[i].max_length);
    EXPECT_EQ(shared[i].random.seed, batches[i].random.seed);
    EXPECT_EQ(shared[i].random.step, batches[i].random.step);
    EXPECT_EQ(shared[i].training, batches[i].training);
    EXPECT_EQ(shared[i].has_image(), batches[i].has_image());
    EXPECT_EQ(shared[i].pixels.defined(), ranks().rank() == 0 && batches[i].pixels.defined());
  }
}

}  // namespace
}  // namespace skymm::testing

int main(int argc, char** argv) { return skymm::testing::run_mpi_tests(argc, argv); }
