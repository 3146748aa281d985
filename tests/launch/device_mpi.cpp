// Ranks that compute by CUDA's kernels: their tensors travel through the host's memory or by NCCL, and what they train
// is the same.
#include "parallel/communicator.hpp"
#include "support/device_training.hpp"
#include "support/grid_cases.hpp"
#include "support/mpi_main.hpp"
#include "support/shared_folder.hpp"

namespace skymm {
namespace {

using testing::ranks;

// An element's rank and place, in f32, on the GPU. It is computed there, so that who sends it too early sends NaN.
Tensor numbered(std::int64_t count, Device& device) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  const Tensor x = Tensor::full({count}, DType::f32, 100.0 * ranks().rank(), device);
  x.add(Tensor::from(values, {count}, device));
  return x;
}

class DeviceTensors : public ::testing::Test {
 protected:
  Device& device_ = open_device(testing::cuda_device_name());
  const int size_ = ranks().size(), rank_ = ranks().rank();
  const std::unique_ptr<Stream> stream_ = device_.make_stream();
  const StreamScope scope_{*stream_};
};

TEST_F(DeviceTensors, GoFromRankToRank) {
  const Tensor mine = numbered(5, device_), other = Tensor::empty({5}, DType::f32, device_);
  Handle arrives = ranks().irecv(other, (rank_ + size_ - 1) % size_, 3);
  ranks().isend(mine, (rank_ + 1) % size_, 3).wait();
  mine.fill(-1);  // it has left
  arrives.wait();
  const double from = 100.0 * ((rank_ + size_ - 1) % size_);
  other.add(other);  // what is enqueued next finds what arrived
  EXPECT_EQ(testing::values_of(other),
            (testing::Values{2 * from, 2 * from + 2, 2 * from + 4, 2 * from + 6, 2 * from + 8}));
}

TEST_F(DeviceTensors, AreBroadcastAndSummed) {
  const Tensor x = numbered(3, device_);
  ranks().broadcast(x, 1);
  EXPECT_EQ(testing::values_of(x), (testing::Values{100, 101, 102}));
  for (const std::int64_t count : {std::int64_t{3}, std::int64_t{5000}}) {  // both kinds of sums
    const Tensor sum = numbered(count, device_);
    ranks().all_reduce(sum);
    const auto last = static_cast<double>(count - 1);
    EXPECT_EQ(sum.slice(0, count - 1, count).item(), 50.0 * size_ * (size_ - 1) + size_ * last);
  }
}

TEST_F(DeviceTensors, AreScatteredAndGathered) {
  const std::int64_t count = size_;
  const Tensor x = numbered(count, device_), whole = Tensor::zeros({count}, DType::f32, device_);
  const Tensor own = whole.slice(0, rank_, rank_ + 1);  // in place: a part of what is gathered
  ranks().reduce_scatter(x, own);
  EXPECT_EQ(own.item(), 50.0 * size_ * (size_ - 1) + size_ * rank_);
  ranks().all_gather(own, whole);
  const Tensor parts = Tensor::empty({count}, DType::f32, device_);
  ranks().all_to_all(x, parts);
  const testing::Values gathered = testing::values_of(whole), from_all = testing::values_of(parts);
  for (int r = 0; r < size_; ++r) {
    EXPECT_EQ(gathered[static_cast<std::size_t>(r)], 50.0 * size_ * (size_ - 1) + size_ * r);
    EXPECT_EQ(from_all[static_cast<std::size_t>(r)], 100.0 * r + rank_);
  }
}

TEST_F(DeviceTensors, OfTwoDevicesAreRefused) {
  const Tensor here = Tensor::zeros({1}, DType::f32), there = Tensor::zeros({size_}, DType::f32, device_);
  EXPECT_THAT(testing::error_of([&] { ranks().all_gather(here, there); }), ::testing::HasSubstr("move them to one"));
}

class DeviceGrids : public ::testing::Test {
 protected:
  void SetUp() override {
    if (ranks().rank() == 0) write_file(dir_ + "/train.ini", to_ini(testing::device_training(dir_)));
    ranks().barrier();
  }

  // The run directory.
  std::string train(const testing::GridCase& grid, const std::string& device) {
    TrainConfig config = *parse_config({"--config", dir_ + "/train.ini", "--device", device});
    grid.apply(config);
    config.train.steps = steps_;
    config.train.global_batch = std::max<std::int64_t>(2, ranks().size());
    if (bf16_) {  // as in tests/cuda/training_test.cpp: its rounding of single losses averages out, and is not
                  // magnified
      config.model.dtype = "bf16";
      config.train.global_batch = 12;
      config.train.micro_batch = 12 / ranks().size();
      config.train.learning_rate = 2e-4F;
    }
    config.run.dir = fmt::format("{}/{} on {}", dir_, grid.name(), device);
    Trainer(config, ranks()).run();
    ranks().barrier();
    return config.run.dir;
  }

  void expect_same_as_on_cpu(const testing::GridCase& grid) {
    const std::string run = train(grid, testing::cuda_device_name()), reference = train(grid, "cpu");
    if (ranks().rank() == 0) testing::expect_same_training(run, reference);
  }

  const testing::SharedFolder folder_;
  const std::string dir_ = folder_.path();
  std::int64_t steps_ = 2;
  bool bf16_ = false;
};

TEST_F(DeviceGrids, DataParallelRanksTrainTheSame) {
  steps_ = 3;
  expect_same_as_on_cpu({{ranks().size(), 1}, "1f1b", 1});
}

TEST_F(DeviceGrids, DataParallelRanksTrainTheSameInBf16) {
  if (testing::tests_nccl() && testing::tested_device().is_emulated()) GTEST_SKIP() << "by MPI; this is slow";
  steps_ = 3;
  bf16_ = true;
  const testing::GridCase grid{{ranks().size(), 1}, "1f1b", 1};
  const std::string run = train(grid, testing::cuda_device_name()), reference = train(grid, "cpu");
  if (ranks().rank() != 0) return;
  EXPECT_EQ(testing::losses_of(run).size(), 3U);
  EXPECT_LE(testing::relative_error(testing::losses_of(run), testing::losses_of(reference)), 1e-3);
}

TEST_F(DeviceGrids, ShardedWeightsTrainTheSame) { expect_same_as_on_cpu({{ranks().size(), 1}, "1f1b", 3}); }

TEST_F(DeviceGrids, APipelineTrainsTheSame) { expect_same_as_on_cpu({{1, ranks().size()}, "zero-bubble", 2}); }

}  // namespace
}  // namespace skymm

int main(int argc, char** argv) { return skymm::testing::run_mpi_tests(argc, argv); }
