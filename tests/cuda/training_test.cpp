// Training by CUDA's kernels, through skymm's own trainer, follows training by the CPU's: losses, what is learnt,
// checkpoints that go from one device to the other, and answers.
#include "launch/evaluation/generation.hpp"
#include "launch/evaluation/run.hpp"
#include "parallel/communicator.hpp"
#include "support/device_training.hpp"
#include "support/support.hpp"

namespace skymm {
namespace {

using testing::losses_of;
using testing::relative_error;

class DeviceTraining : public ::testing::Test {
 protected:
  DeviceTraining() : config_(testing::device_training(folder_.path())) {
    config_.train.micro_batch = config_.train.global_batch;  // fewer and larger kernels are emulated sooner
  }

  // In a run directory called `name`, which it returns.
  std::string train(const std::string& name, const std::string& device, std::int64_t steps) {
    config_.run.dir = folder_.file(name);
    config_.run.device = device;
    config_.train.steps = steps;
    Trainer(config_, one_).run();
    return config_.run.dir;
  }

  testing::TemporaryFolder folder_;
  TrainConfig config_;
  SingleCommunicator one_;
  const std::string cuda_ = testing::cuda_device_name();
};

TEST_F(DeviceTraining, FollowsTheCpu) {
  config_.train.micro_batch = 1;
  testing::expect_same_training(train("cuda", cuda_, 2), train("cpu", "cpu", 2));
}

// Of more samples, so that bf16's rounding of single losses averages out; and with small steps, which do not magnify
// it. Whichever kernels the CPU has, its two losses and CUDA's are then 3e-4 apart; of 12 samples and steps of 2e-4 it
// was up to 1.2e-3, as the losses of a model that knows nothing are large.
TEST_F(DeviceTraining, FollowsTheCpuInBf16) {
  config_.model.dtype = "bf16";
  config_.train.global_batch = config_.train.micro_batch = 24;
  config_.train.learning_rate = 5e-5F;
  const std::string run = train("cuda", cuda_, 2), reference = train("cpu", "cpu", 2);
  EXPECT_EQ(losses_of(run).size(), 2U);
  EXPECT_LE(relative_error(losses_of(run), losses_of(reference)), 1e-3);
}

TEST_F(DeviceTraining, FollowsTheCpuOnFrozenWeightsOfFewBits) {
  for (const char* format : {"int8", "nf4"}) {
    SCOPED_TRACE(format);
    config_.model.frozen_format = format;
    config_.model.double_quantization = config_.model.frozen_format == "nf4";
    const std::string name = format;
    const std::string on_cuda = train(name + "_cuda", cuda_, 1), on_cpu = train(name + "_cpu", "cpu", 1);
    testing::expect_same_training(on_cuda, on_cpu);
  }
}

TEST_F(DeviceTraining, ACheckpointGoesFromOneDeviceToTheOther) {
  const std::string whole = train("whole", "cpu", 3);
  train("moved", cuda_, 1);
  train("moved", "cpu", 2);
  testing::expect_same_training(train("moved", cuda_, 3), whole);
}

TEST_F(DeviceTraining, ItsRunAnswersOnEitherDevice) {
  const std::string dir = train("run", cuda_, 1);
  write_file(dir + "/config.ini", to_ini(config_));
  const auto answer_on = [&](const std::string& device) {
    const skymm::Run run = open_run(dir, device);
    Sample sample{.id = "asked", .images = {testing::tiny_picture(3)}};
    sample.parts = {image_part(0), text_part("Is there a dumpling?")};
    return generate(*run.assembly.model, run.assembly.prompts(run.config), run.assembly.images, {sample},
                    {.max_tokens = 4, .sampling = {.temperature = 3}})[0];
  };
  const std::string answer = answer_on("");  // the run's own device
  EXPECT_FALSE(answer.empty());
  EXPECT_EQ(answer, answer_on("cpu"));
}

}  // namespace
}  // namespace skymm
