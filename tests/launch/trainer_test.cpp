#include "launch/trainer.hpp"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <iterator>
#include <thread>

#include "core/error.hpp"
#include "io/checkpoint.hpp"
#include "parallel/communicator.hpp"
#include "support/support.hpp"
#include "support/tiny_training.hpp"

namespace skymm {
namespace {

using ::testing::HasSubstr;
using testing::losses_of;

class TrainerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir = std::filesystem::temp_directory_path() / fmt::format("skymm_trainer_{}", ::getpid());
    config = testing::tiny_training(dir);
  }
  void TearDown() override { std::filesystem::remove_all(dir); }

  void train(const TrainConfig& c) { Trainer(c, one).run(); }

  // With `config`; a signal comes once metrics.jsonl has so many lines.
  RunEnd train_until_signal(std::int64_t lines) {
    const StopSignals signals;
    std::thread sender([&] {
      const auto logged = [&] {
        std::ifstream file(config.run.dir + "/metrics.jsonl");
        return std::count(std::istreambuf_iterator<char>(file), {}, '\n');
      };
      while (logged() < lines) std::this_thread::sleep_for(std::chrono::milliseconds(2));
      ::kill(::getpid(), SIGUSR1);
    });
    const RunEnd end = Trainer(config, one).run();
    sender.join();
    return end;
  }

  static std::string error_of(const std::function<void()>& f) {
    try {
      f();
    } catch (const Error& error) {
      return error.message();
    }
    return "no error";
  }

  std::string dir;
  TrainConfig config;
  SingleCommunicator one;
};

TEST_F(TrainerTest, LearnsAndLeavesWhatTrained) {
  config.train.steps = 30;
  train(config);
  const std::vector<double> losses = losses_of(config.run.dir);
  ASSERT_EQ(losses.size(), 30U);
  EXPECT_LT(losses.back(), 0.5 * losses.front());
  const SafetensorsReader trained(config.run.dir + "/trained.safetensors");
  EXPECT_TRUE(trained.contains("resampler.query"));
  EXPECT_TRUE(trained.contains("model.layers.0.self_attn.q_proj.lora_A.weight"));
  EXPECT_FALSE(trained.contains("model.embed_tokens.weight"));
}

TEST_F(TrainerTest, AskedToStopItSavesAndTheNextRunGoesOn) {
  config.train.steps = 100000;  // more than it can do before the signal comes
  config.train.checkpoint_every = config.train.steps;
  EXPECT_EQ(train_until_signal(0), RunEnd::stopped);
  EXPECT_EQ(train_until_signal(2), RunEnd::stopped);
  const std::size_t first = losses_of(config.run.dir).size();
  EXPECT_EQ(train_until_signal(first + 1), RunEnd::stopped);
  const std::vector<double> losses = losses_of(config.run.dir);
  EXPECT_EQ(newest_checkpoint(config.run.dir + "/checkpoints")->checkpoint.step,
            static_cast<std::int64_t>(losses.size()));
  EXPECT_FALSE(std::filesystem::exists(config.run.dir + "/trained.safetensors"));

  TrainConfig whole = config;
  whole.run.dir = dir + "/whole";
  whole.train.time_limit_minutes = 1e-9;
  for (std::size_t i = 0; i < losses.size(); ++i) train(whole);  // one step each: the cosine is that of 100000 steps
  EXPECT_EQ(losses_of(whole.run.dir), losses);
}

TEST_F(TrainerTest, AskedToStopItDoesNotEndItsValidation) {
  config.data.validation.assign(1000, {dir + "/train.h5"});
  config.train.validate_every = 1;
  config.train.validation_steps = 2000;
  config.train.steps = 100000;
  EXPECT_EQ(train_until_signal(1), RunEnd::stopped);
  EXPECT_EQ(losses_of(config.run.dir).size(), 1U);
  EXPECT_THAT(read_file(config.run.dir + "/metrics.jsonl"), ::testing::Not(HasSubstr("validation")));
  EXPECT_EQ(newest_checkpoint(config.run.dir + "/checkpoints")->checkpoint.step, 1);
}

TEST_F(TrainerTest, TextAloneTrainsADecoder) {
  DatasetWriter writer(dir + "/text.h5");
  for (int i = 0; i < 12; ++i) {
    Sample sample{.id = std::to_string(i), .language = Language::english, .source = "test"};
    sample.parts = {text_part("Is there a dumpling?"), answer_part(i % 2 ? "yes" : "no")};
    writer.add(sample);
  }
  writer.close();
  config.model.vision = "none";
  config.model.weights.clear();
  config.model.train = {"decoder"};
  config.train.objective = "text";
  config.data.train = {{dir + "/text.h5"}};
  train(config);
  const std::vector<double> losses = losses_of(config.run.dir);
  ASSERT_EQ(losses.size(), 6U);
  EXPECT_LT(losses.back(), losses.front());
}

TEST_F(TrainerTest, ResumesBitByBit) {
  train(config);
  const std::string whole = read_file(config.run.dir + "/trained.safetensors");
  TrainConfig pieces = config;
  pieces.run.dir = dir + "/pieces";
  pieces.train.checkpoint_every = 2;
  train(pieces);  // checkpoints after 2, 4 and 6 steps; the last two are kept
  std::filesystem::remove(checkpoint_path(pieces.run.dir + "/checkpoints", 6));
  train(pieces);  // goes on after 4
  EXPECT_EQ(losses_of(pieces.run.dir).size(), 8U);
  EXPECT_EQ(read_file(pieces.run.dir + "/trained.safetensors"), whole);
}

TEST_F(TrainerTest, MicroBatchesDoNotChangeWhatIsLearnt) {
  train(config);
  TrainConfig whole = config;
  whole.run.dir = dir + "/whole";
  whole.train.micro_batch = 12;
  train(whole);
  EXPECT_LE(testing::relative_error(losses_of(whole.run.dir), losses_of(config.run.dir)), 1e-5);
}

TEST_F(TrainerTest, ACheckpointOfAnotherModelIsRefused) {
  train(config);
  config.model.lora_rank = 8;
  EXPECT_THAT(error_of([&] { train(config); }), HasSubstr("lora_A"));
}

TEST_F(TrainerTest, FrozenWeightsThatNoFileHasAreNamed) {
  config.model.weights.clear();
  EXPECT_THAT(error_of([&] { train(config); }), HasSubstr("vision_model"));
}

TEST_F(TrainerTest, ABadSampleIsPassedOver) {
  DatasetWriter writer(dir + "/bad.h5");
  for (int i = 0; i < 23; ++i) {
    Sample sample{.id = std::to_string(i), .images = {testing::tiny_picture(i)}, .source = "test"};
    if (i == 5) sample.images[0].resize(40);  // a truncated picture
    sample.parts = {image_part(0), text_part("Is there a panda?"), answer_part("no")};
    writer.add(sample);
  }
  writer.close();
  config.data.train = {{dir + "/bad.h5"}};
  config.train.steps = 2;
  train(config);
  EXPECT_EQ(losses_of(config.run.dir).size(), 2U);
}

}  // namespace
}  // namespace skymm
