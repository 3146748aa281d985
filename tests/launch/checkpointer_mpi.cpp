// Ranks save together in the background and agree on whether it went well; and they resume together, or not at all.
#include <filesystem>
#include <fstream>

#include "core/error.hpp"
#include "io/file.hpp"
#include "launch/training/checkpointer.hpp"
#include "launch/training/resume.hpp"
#include "parallel/gather_text.hpp"
#include "parallel/zero/states.hpp"
#include "support/file_size_limit.hpp"
#include "support/mpi_main.hpp"
#include "support/scattered_weights.hpp"
#include "support/shared_folder.hpp"
#include "support/text.hpp"

namespace skymm {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing::ranks;
using testing::ScatteredWeights;

CheckpointInfo info_of(std::int64_t step, const TrainConfig& config = {}) {
  CheckpointInfo info;
  info.step = info.updates = step;
  info.position = 12 * step;
  info.frozen = {{"model", 42}};
  info.config = to_ini(config);
  return info;
}

// Weights under some stage of ZeRO over all ranks, that differ from step to step.
struct Training {
  explicit Training(int stage) : optimizer(weights.chunks(), {}, {stage, 100}, ranks(), ranks()) {}

  void step() {
    for (std::size_t chunk = 0; chunk < 2; ++chunk) {
      const int number = static_cast<int>(chunk);
      optimizer.gather_weights(number);
      optimizer.wait_weights(number);
      weights.add_gradients(chunk, static_cast<int>(optimizer.steps()), ranks().rank(), 0);
      optimizer.reduce_gradients(number);
      optimizer.release_weights(number);
    }
    optimizer.step(0.01F, 10);
  }
  // Of all tensors, on rank 0.
  std::vector<WholeState> whole() const {
    std::vector<WholeState> states;
    gather_states(optimizer, StateParts::all, [&](WholeState state) { states.push_back(std::move(state)); });
    return states;
  }

  ScatteredWeights weights{DType::f32};
  Optimizer optimizer;
};

void expect_same(const std::vector<WholeState>& a, const std::vector<WholeState>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].name, b[i].name);
    EXPECT_EQ(a[i].master, b[i].master) << a[i].name;
    EXPECT_EQ(a[i].m, b[i].m) << a[i].name;
    EXPECT_EQ(a[i].v, b[i].v) << a[i].name;
  }
}

class Checkpointing : public ::testing::Test {
 protected:
  void SetUp() override {
    config_.run.dir = dir_;
    config_.data.train = {{"none.h5"}};
  }
  std::string folder() const { return checkpoint_folder(dir_); }
  std::string path(std::int64_t step) const { return checkpoint_path(folder(), step); }
  Resumed resume_into(Training& training, std::uint64_t frozen = 42) {
    return resume(config_, {{"model", frozen}}, training.optimizer, ranks());
  }
  // The message that every rank gets, which has to be the same.
  std::string refusal(Training& training, std::uint64_t frozen = 42) {
    const std::string message = testing::error_of([&] { resume_into(training, frozen); });
    for (const std::string& of_rank : gather_text(ranks(), message)) EXPECT_EQ(of_rank, message);
    return message;
  }
  void damage(std::int64_t step) {
    ranks().barrier();
    if (ranks().rank() == 0) {
      const CheckpointFile file(path(step));
      const std::vector<float> value = file.read_whole(file.find("resampler.query"), 1);
      std::string bytes = read_file(path(step));
      const std::size_t at = bytes.find(std::string(reinterpret_cast<const char*>(value.data()), 64));
      bytes[at + 10] = static_cast<char>(bytes[at + 10] ^ 1);
      write_file(path(step), bytes);
    }
    ranks().barrier();
  }

  const testing::SharedFolder shared_;
  const std::string dir_ = shared_.path();
  TrainConfig config_;
};

TEST_F(Checkpointing, WhatIsSavedAtAnyStageIsRestoredAtAnyOther) {
  for (int stage = 0; stage <= 3; ++stage) {
    SCOPED_TRACE(fmt::format("saved at stage {}", stage));
    config_.run.dir = fmt::format("{}/{}", dir_, stage);
    Training training(stage);
    Checkpointer checkpointer(checkpoint_folder(config_.run.dir), {1}, training.optimizer, info_of(0, config_));
    training.step();
    training.step();
    const std::vector<WholeState> saved = training.whole();
    checkpointer.begin(info_of(2, config_));
    training.step();  // changes what was copied
    checkpointer.poll();
    EXPECT_TRUE(checkpointer.finish());
    for (int other = 0; other <= 3; ++other) {
      SCOPED_TRACE(other);
      Training fresh(other);
      const Resumed resumed = resume_into(fresh);
      ASSERT_TRUE(resumed.from);
      EXPECT_EQ(resumed.from->info.position, 24);
      EXPECT_EQ(fresh.optimizer.steps(), 2);
      const std::vector<WholeState> restored = fresh.whole();
      if (ranks().rank() == 0) expect_same(restored, saved);
    }
  }
}

TEST_F(Checkpointing, StagingMemoryIsSharedOutBookedAndGivenBack) {
  Training training(0);  // every rank holds everything
  cpu().allocator().reset_peak();
  const MemoryUse before = cpu().allocator().use(Purpose::checkpoints);
  Checkpointer checkpointer(folder(), {1}, training.optimizer, info_of(0));
  checkpointer.begin(info_of(1));
  checkpointer.finish();
  const MemoryUse after = cpu().allocator().use(Purpose::checkpoints);
  EXPECT_EQ(after.current, before.current);
  std::int64_t elements = 0;
  for (const SpreadTensor& tensor : training.optimizer.tensors()) elements += tensor.shape.numel();
  EXPECT_GT(after.peak, 0u);
  EXPECT_LT(after.peak, static_cast<std::size_t>(12 * elements));
}

TEST_F(Checkpointing, ItKnowsHowLongSavingTakes) {
  Training training(1);
  Checkpointer checkpointer(folder(), {1}, training.optimizer, info_of(0));
  EXPECT_EQ(checkpointer.seconds_to_save(), 0);
  checkpointer.begin(info_of(1));
  EXPECT_EQ(checkpointer.seconds_to_save(), 0);
  ASSERT_TRUE(checkpointer.finish());
  const double one = checkpointer.seconds_to_save();
  checkpointer.begin(info_of(2));
  if (ranks().rank() == 0) {
    EXPECT_GT(one, 0);
    EXPECT_EQ(checkpointer.seconds_to_save(), 2 * one);  // until this one is on disk, and then another
  }
  ASSERT_TRUE(checkpointer.finish());
}

TEST_F(Checkpointing, TheNextWaitsAndOldOnesGo) {
  Training training(1);
  Checkpointer checkpointer(folder(), {2, 2}, training.optimizer, info_of(0));
  for (std::int64_t step = 1; step <= 5; ++step) checkpointer.begin(info_of(step));
  EXPECT_TRUE(checkpointer.finish());
  std::vector<std::int64_t> steps;
  for (const CheckpointEntry& entry : checkpoints_in(folder())) {
    steps.push_back(entry.step);
    CheckpointFile(entry.path).verify();  // of all ranks
  }
  EXPECT_EQ(steps, (std::vector<std::int64_t>{5, 4, 2}));
}

TEST_F(Checkpointing, WhereOneRankCannotWriteAllGiveUpAndTheOneBeforeStays) {
  for (const int unlucky : {0, ranks().size() - 1}) {
    SCOPED_TRACE(unlucky);
    Training training(1);
    Checkpointer checkpointer(folder(), {1}, training.optimizer, info_of(0));
    EXPECT_EQ(checkpointer.newest(), unlucky == 0 ? -1 : 3);
    checkpointer.begin(info_of(1));
    ASSERT_TRUE(checkpointer.finish());
    {
      std::optional<testing::FileSizeLimit> limit;
      if (ranks().rank() == unlucky) limit.emplace();
      checkpointer.begin(info_of(2));
      EXPECT_FALSE(checkpointer.finish());
    }
    ranks().barrier();
    CheckpointFile(path(1)).verify();
    EXPECT_EQ(checkpointer.newest(), unlucky == 0 ? 1 : 3);
    EXPECT_FALSE(fs::exists(path(2)));
    EXPECT_FALSE(fs::exists(path(2) + ".tmp"));
    ranks().barrier();
    checkpointer.begin(info_of(3));  // once there is room again
    EXPECT_TRUE(checkpointer.finish());
    if (ranks().rank() == 0) CheckpointFile(path(3)).verify();
    ranks().barrier();
  }
}

TEST_F(Checkpointing, AFolderThatCannotBeIsToldAndTheRunGoesOn) {
  if (ranks().rank() == 0) {
    fs::create_directories(dir_);
    write_file(folder(), "a file in its place");
  }
  ranks().barrier();
  Training training(1);
  Checkpointer checkpointer(folder(), {1}, training.optimizer, info_of(0));
  ::testing::internal::CaptureStderr();
  checkpointer.begin(info_of(1));
  const bool saved = checkpointer.finish();
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_FALSE(saved);
  EXPECT_THAT(log, HasSubstr("Not a directory"));
  if (ranks().rank() == 0) {
    EXPECT_THAT(log, HasSubstr("NO CHECKPOINT after step 1"));
  }
}

TEST_F(Checkpointing, ADamagedOneIsPassedOverByAllRanks) {
  Training training(2);
  Checkpointer checkpointer(folder(), {3}, training.optimizer, info_of(0, config_));
  std::vector<WholeState> saved;
  for (std::int64_t step = 1; step <= 3; ++step) {
    training.step();
    if (step == 1) saved = training.whole();
    checkpointer.begin(info_of(step, config_));
  }
  ASSERT_TRUE(checkpointer.finish());
  damage(3);  // found by the rank that holds the element
  if (ranks().rank() == 0) fs::resize_file(path(2), 2000);
  ranks().barrier();
  Training fresh(1);
  ::testing::internal::CaptureStderr();
  const Resumed resumed = resume_into(fresh);
  const std::string log = ::testing::internal::GetCapturedStderr();
  ASSERT_TRUE(resumed.from);
  EXPECT_EQ(resumed.from->info.step, 1);
  const std::vector<WholeState> restored = fresh.whole();
  if (ranks().rank() == 0) {
    expect_same(restored, saved);
    EXPECT_THAT(log, HasSubstr("step_00000003.h5 is damaged: elements"));
    EXPECT_THAT(log, HasSubstr("step_00000002.h5"));
    EXPECT_EQ(resumed.damaged, (std::set<std::string>{path(2), path(3)}));
  }
  config_.run.resume = path(3);
  EXPECT_THAT(refusal(fresh), HasSubstr("is damaged"));
}

TEST_F(Checkpointing, WhereNoneIsWholeTheRunStartsAnewUntouched) {
  Training training(1);
  Checkpointer checkpointer(folder(), {1}, training.optimizer, info_of(0, config_));
  training.step();
  checkpointer.begin(info_of(1, config_));
  ASSERT_TRUE(checkpointer.finish());
  damage(1);
  Training fresh(1), other(1);
  EXPECT_FALSE(resume_into(fresh).from);
  const std::vector<WholeState> states = fresh.whole(), expected = other.whole();
  if (ranks().rank() == 0) expect_same(states, expected);
}

TEST_F(Checkpointing, AnotherModelsIsRefusedByAllRanks) {
  Training training(1);
  config_.model.lora_rank = 16;
  Checkpointer checkpointer(folder(), {1}, training.optimizer, info_of(0, config_));
  checkpointer.begin(info_of(1, config_));
  ASSERT_TRUE(checkpointer.finish());
  EXPECT_THAT(refusal(training, 43), HasSubstr("made with other frozen weights: model"));
  config_.train.learning_rate = 7;
  config_.model.lora_alpha = 5;
  config_.model.resampler_positions = false;
  const std::string message = refusal(training);
  EXPECT_THAT(message, HasSubstr("model.lora_alpha 32, now 5"));
  EXPECT_THAT(message, HasSubstr("model.resampler_positions true, now false"));
  EXPECT_THAT(message, ::testing::Not(HasSubstr("learning_rate")));  // that may change
}

}  // namespace
}  // namespace skymm

int main(int argc, char** argv) { return skymm::testing::run_mpi_tests(argc, argv); }
