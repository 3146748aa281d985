// Training is the same on every grid: 20 steps of a tiny model, on samples with and without pictures, by every schedule
// and ZeRO stage, against one rank alone.
//
// Pairs of settings by default; SKYMM_ALL_GRIDS=1 in the environment runs every combination, as tests/run --full does.
#include <cstdio>
#include <cstdlib>
#include <map>

#include "core/log.hpp"
#include "io/weights/safetensors.hpp"
#include "ops/models/cut.hpp"
#include "support/grid_cases.hpp"
#include "support/mpi_main.hpp"
#include "support/shared_folder.hpp"
#include "support/support.hpp"
#include "support/tiny_training.hpp"

namespace skymm {
namespace {

using testing::ranks;

// In Adam's hands the rounding noise of a gradient that is truly zero becomes steps of full length, unless epsilon is
// above it. Here it is: sums in another order then differ by rounding, in every element of every weight.
constexpr float epsilon = 1e-5F;
// Such a gradient is that of a bias that adds the same to each key of a softmax: it has to stay small, no more.
constexpr const char* key_bias = "resampler.attn.in_proj_bias";

struct Trained {
  std::vector<double> losses, validation_losses;
  std::string bytes;  // of trained.safetensors
  std::map<std::string, testing::Values> weights;
  testing::Values key_bias;
};

Trained read_trained(const std::string& run_dir) {
  Trained trained{testing::losses_of(run_dir),
                  testing::losses_of(run_dir, "validation loss"),
                  read_file(run_dir + "/trained.safetensors"),
                  {},
                  {}};
  const SafetensorsReader file(run_dir + "/trained.safetensors");
  for (const WeightEntry& entry : file.entries()) {
    const std::string& name = entry.name;
    Tensor value = file.read(name);
    if (name == key_bias) {  // queries, keys, values
      const std::int64_t width = value.numel() / 3;
      trained.key_bias = testing::values_of(value.slice(0, width, 2 * width));
      value.slice(0, width, 2 * width).fill(0);
    }
    trained.weights[name] = testing::values_of(value);
  }
  return trained;
}

void expect_same(const Trained& trained, const Trained& reference, double largest_step) {
  EXPECT_LE(testing::relative_error(trained.losses, reference.losses), 1e-5);
  EXPECT_LE(testing::relative_error(trained.validation_losses, reference.validation_losses), 1e-5);
  ASSERT_EQ(trained.weights.size(), reference.weights.size());
  for (const auto& [name, weight] : reference.weights) {
    ASSERT_TRUE(trained.weights.contains(name)) << name;
    EXPECT_LE(testing::relative_error(trained.weights.at(name), weight), 1e-5) << name;
  }
  for (const double bias : trained.key_bias) EXPECT_LE(std::abs(bias), largest_step);
}

class GridTraining : public ::testing::Test {
 protected:
  void SetUp() override {
    set_log_level(LogLevel::warn);
    if (ranks().rank() == 0) {
      TrainConfig config = testing::tiny_training(dir_);
      config.data.validation = config.data.train;
      config.train.steps = 20;
      config.train.global_batch = std::max(6, 3 * ranks().size() / 2);  // on 4 ranks and more not the same for each
      config.train.micro_batch = 1;                                     // so that some are text alone
      config.train.epsilon = epsilon;
      config.train.learning_rate = 2e-3F;  // at 5e-3 ranks that first sum their own micro-batches drift 5e-5 apart
      config.train.validate_every = 10;
      config.train.validation_steps = 2;
      write_file(dir_ + "/config.ini", to_ini(config));
    }
    ranks().barrier();
    config_ = *parse_config({"--config", dir_ + "/config.ini"});
  }

  void train(Communicator& communicator, const std::string& name, const testing::GridCase& one) {
    TrainConfig config = config_;
    one.apply(config);
    config.run.dir = dir_ + "/" + name;
    Trainer(config, communicator).run();
    communicator.barrier();
  }

  const testing::SharedFolder folder_;
  const std::string dir_ = folder_.path();
  TrainConfig config_;
};

TEST_F(GridTraining, IsTheSameOnAnyGrid) {
  SingleCommunicator alone;
  Trained reference;
  if (ranks().rank() == 0) {
    train(alone, "alone", {{1, 1}, "1f1b"});
    reference = read_trained(dir_ + "/alone");
    ASSERT_EQ(reference.losses.size(), 20U);
    ASSERT_EQ(reference.validation_losses.size(), 2U);
    ASSERT_FALSE(reference.weights.empty());
  }
  const std::vector<testing::GridCase> all = testing::all_grid_cases(ranks().size(), 8);
  const char* asked = std::getenv("SKYMM_ALL_GRIDS");
  const bool every = asked != nullptr && std::string(asked) == "1";
  // By grid and ZeRO stage: schedules, overlap, recomputation, the order of ranks and sharded frozen weights change no
  // bit.
  std::map<std::array<int, 3>, std::string> first;
  int number = 0;
  for (const testing::GridCase& one : every ? all : testing::pairwise(all)) {
    SCOPED_TRACE(one.name());
    if (ranks().rank() == 0) std::fprintf(stderr, "%s\n", one.name().c_str());
    const std::string name = fmt::format("case_{}", number++);
    train(ranks(), name, one);
    if (ranks().rank() != 0) continue;
    const Trained trained = read_trained(dir_ + "/" + name);
    const auto largest = static_cast<double>(config_.train.learning_rate) * static_cast<double>(config_.train.steps);
    expect_same(trained, reference, largest);
    const auto same = first.try_emplace({one.grid.data, one.grid.pipeline, one.zero}, trained.bytes).first;
    EXPECT_TRUE(trained.bytes == same->second) << "other bits than another schedule on the same grid";
    std::filesystem::remove_all(dir_ + "/" + name);
  }
}

TEST_F(GridTraining, SharedAndShardedFrozenWeightsChangeNoBit) {
  config_.train.steps = 4;
  config_.train.validate_every = 4;
  const int pipeline = ranks().size() > 2 ? 2 : 1;
  for (const char* format : {"dtype", "nf4"}) {
    SCOPED_TRACE(format);
    config_.model.frozen_format = format;
    for (const char* share : {"off", "auto"}) {
      config_.run.share_frozen = share;
      train(ranks(), fmt::format("{}_{}", format, share), {{ranks().size() / pipeline, pipeline}, "1f1b"});
    }
    train(ranks(), fmt::format("{}_sharded", format),
          {.grid = {ranks().size() / pipeline, pipeline}, .schedule = "1f1b", .shard_frozen = true});
    if (ranks().rank() != 0) continue;
    const Trained apart = read_trained(fmt::format("{}/{}_off", dir_, format));
    EXPECT_EQ(apart.losses.size(), 4U);
    for (const char* how : {"auto", "sharded"}) {
      SCOPED_TRACE(how);
      const Trained other = read_trained(fmt::format("{}/{}_{}", dir_, format, how));
      EXPECT_EQ(other.losses, apart.losses);
      EXPECT_EQ(other.validation_losses, apart.validation_losses);
      EXPECT_TRUE(other.bytes == apart.bytes);
    }
  }
}

TEST_F(GridTraining, ARunOnTheSameGridRepeatsBitByBit) {
  const testing::GridCase one{{1, ranks().size()}, "zero-bubble"};
  for (const char* name : {"first", "second"}) train(ranks(), name, one);
  if (ranks().rank() != 0) return;
  EXPECT_TRUE(read_trained(dir_ + "/first").bytes == read_trained(dir_ + "/second").bytes);
  EXPECT_EQ(testing::losses_of(dir_ + "/first"), testing::losses_of(dir_ + "/second"));
}

}  // namespace
}  // namespace skymm

int main(int argc, char** argv) { return skymm::testing::run_mpi_tests(argc, argv, 1); }
