#include "launch/training/trainer.hpp"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <iterator>
#include <set>
#include <thread>

#include "core/error.hpp"
#include "core/trace.hpp"
#include "io/checkpoint_folder.hpp"
#include "launch/evaluation/mme_answers.hpp"
#include "launch/training/run_start.hpp"
#include "parallel/communicator.hpp"
#include "support/file_size_limit.hpp"
#include "support/support.hpp"
#include "support/tiny_training.hpp"

namespace skymm {
namespace {

using ::testing::AllOf;
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

  // With `config`; a signal comes once metrics.jsonl has so many lines, and no file grows any more from then on if
  // `disk_full`.
  RunEnd train_until_signal(std::int64_t lines, bool disk_full = false) {
    const StopSignals signals;
    std::optional<testing::FileSizeLimit> limit;
    std::thread sender([&] {
      const auto logged = [&] {
        std::ifstream file(config.run.dir + "/metrics.jsonl");
        return std::count(std::istreambuf_iterator<char>(file), {}, '\n');
      };
      while (logged() < lines) std::this_thread::sleep_for(std::chrono::milliseconds(2));
      if (disk_full) limit.emplace();
      ::kill(::getpid(), SIGUSR1);
    });
    try {
      const RunEnd end = Trainer(config, one).run();
      sender.join();
      return end;
    } catch (...) {
      sender.join();
      throw;
    }
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
  EXPECT_EQ(newest_checkpoint(config.run.dir + "/checkpoints")->info().step, static_cast<std::int64_t>(losses.size()));
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
  EXPECT_EQ(newest_checkpoint(config.run.dir + "/checkpoints")->info().step, 1);
}

TEST_F(TrainerTest, AskedToStopOnAFullDiskItSaysWhetherAnEarlierCheckpointIsThere) {
  config.train.checkpoint_every = 100000;
  config.train.steps = 4;
  train(config);
  config.train.steps = 100000;
  EXPECT_EQ(train_until_signal(20, true), RunEnd::stopped_unsaved);
  EXPECT_EQ(newest_checkpoint(config.run.dir + "/checkpoints")->info().step, 4);
  config.run.dir = dir + "/another";
  EXPECT_THAT(error_of([&] { train_until_signal(2, true); }), HasSubstr("there is none before it"));
}

TEST_F(TrainerTest, WithoutItsLastCheckpointItIsDoneButSaysSo) {
  config.train.checkpoint_every = 4;
  const std::string in_the_way = checkpoint_path(checkpoint_folder(config.run.dir), 6) + ".tmp";
  std::filesystem::create_directories(in_the_way + "/not empty");
  EXPECT_EQ(Trainer(config, one).run(), RunEnd::done_unsaved);
  const std::string trained = config.run.dir + "/trained.safetensors", whole = read_file(trained);
  std::filesystem::remove_all(in_the_way);
  EXPECT_EQ(Trainer(config, one).run(), RunEnd::done);
  EXPECT_EQ(losses_of(config.run.dir).size(), 6U + 2U);
  EXPECT_EQ(read_file(trained), whole);
  EXPECT_EQ(newest_checkpoint(checkpoint_folder(config.run.dir))->info().step, 6);
}

TEST_F(TrainerTest, ATraceIsThereWithTheFirstCheckpoint) {
  enable_trace();
  config.run.trace = true;
  config.train.checkpoint_every = 2;
  train(config);  // the command writes it once more, at the end
  const nlohmann::json events = nlohmann::json::parse(read_file(config.run.dir + "/trace.json"));
  EXPECT_EQ(std::ranges::count(events, "step", [](const nlohmann::json& event) { return event.at("name"); }), 4);
}

TEST_F(TrainerTest, EvaluatingChangesNothingThatIsLearnt) {
  const TrainConfig asking = testing::with_evaluation(config, dir);
  for (const int zero : {1, 3}) {
    TrainConfig plain = config, asked = asking;
    plain.parallel.zero = asked.parallel.zero = zero;
    plain.run.dir = fmt::format("{}/plain{}", dir, zero);
    asked.run.dir = fmt::format("{}/asked{}", dir, zero);
    train(plain);
    train(asked);
    EXPECT_EQ(losses_of(asked.run.dir), losses_of(plain.run.dir));
    EXPECT_EQ(read_file(asked.run.dir + "/trained.safetensors"), read_file(plain.run.dir + "/trained.safetensors"));
  }
}

// What the model says while it trains is what its weights say once they are loaded.
TEST_F(TrainerTest, EvaluatesAsSkymmEvalWould) {
  config = testing::with_evaluation(config, dir);
  config.train.evaluate_limit = 2;
  train(config);
  EXPECT_EQ(losses_of(config.run.dir, "mme_accuracy/zh").size(), 3U);  // after 2, 4 and 6 steps
  const std::string folder = config.run.dir + "/eval/step_00000006";
  skymm::Run run = open_run(config.run.dir);
  std::vector<MmeTask> tasks = read_mme(dir + "/mme/en");
  for (MmeTask& task : tasks) task.questions.resize(4);
  const MmeAnswers answers = answer_mme(run, one, tasks);
  const nlohmann::json mme = nlohmann::json::parse(read_file(folder + "/mme.json"));
  ASSERT_EQ(mme.at("answers").size(), 2U * 2U * 4U);
  for (std::size_t i = 0; i < 8; ++i) {
    EXPECT_EQ(mme.at("answers").at(i).at("answer"), answers.results[i / 4][i % 4].response);
  }
  const std::vector<MmeScore> scores = score_mme_folder(folder + "/mme/en");
  EXPECT_EQ(losses_of(config.run.dir, "mme_accuracy/en").back(), total_mme(scores).acc());
  EXPECT_EQ(losses_of(config.run.dir, "mme/perception_en").back(), sum_mme(scores, MmeGroup::perception).score);
  const nlohmann::json mmbench = nlohmann::json::parse(read_file(folder + "/mmbench.json"));
  EXPECT_EQ(mmbench.at("answers").size(), 2U * 2U);
  EXPECT_EQ(mmbench.at("figures").at("mmbench/circular"), losses_of(config.run.dir, "mmbench/circular").back());
  const nlohmann::json pope = nlohmann::json::parse(read_file(folder + "/pope.json"));
  EXPECT_EQ(pope.at("answers").size(), 2U);
  EXPECT_EQ(pope.at("unasked").at("count"), 1);
  EXPECT_THAT(pope.at("unasked").at("first").at(0).at("why").get<std::string>(), HasSubstr("gone.png"));
  EXPECT_EQ(losses_of(config.run.dir, "pope/popular_f1").size(), 3U);
}

TEST_F(TrainerTest, BenchmarksInTwoLanguagesHaveFiguresOfEach) {
  config = testing::with_evaluation(config, dir);
  testing::write_tiny_mmbench(dir + "/mmbench");
  testing::write_tiny_pope(dir + "/pope");
  config.data.evaluation = {"mmbench=" + dir + "/mmbench", "pope=" + dir + "/pope"};
  config.data.evaluation_images.clear();
  config.train.steps = config.train.evaluate_every = 2;
  train(config);
  for (const char* figure : {"mmbench/circular_en", "mmbench/circular_zh", "pope/random_f1_en", "pope/random_f1_zh"}) {
    EXPECT_EQ(losses_of(config.run.dir, figure).size(), 1U) << figure;
  }
  std::filesystem::remove_all(dir + "/pope/images");
  EXPECT_THAT(error_of([&] { train(config); }), HasSubstr("data.evaluation_images"));
}

TEST_F(TrainerTest, AskedToStopItDoesNotEndItsEvaluation) {
  config = testing::with_evaluation(config, dir);
  std::string lines;
  for (int i = 0; i < 20000; ++i) lines += testing::pope_line("0.png", "no");
  write_file(dir + "/pope_popular.json", lines);
  config.data.evaluation = {"pope=" + dir + "/pope_popular.json"};
  config.train.evaluate_every = 1;
  EXPECT_EQ(train_until_signal(1), RunEnd::stopped);
  EXPECT_EQ(losses_of(config.run.dir).size(), 1U);
  EXPECT_THAT(read_file(config.run.dir + "/metrics.jsonl"), ::testing::Not(HasSubstr("pope")));
  EXPECT_EQ(newest_checkpoint(config.run.dir + "/checkpoints")->info().step, 1);
}

TEST_F(TrainerTest, ASetThatCannotBeReadIsSaidBeforeTraining) {
  config = testing::with_evaluation(config, dir);
  write_file(dir + "/mme/zh/count/1.txt", "one line");
  EXPECT_THAT(error_of([&] { train(config); }), HasSubstr("count/1.txt"));
  EXPECT_FALSE(std::filesystem::exists(config.run.dir + "/metrics.jsonl"));
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

// Packing: a micro-batch is one sequence of many samples, or of few; whoever gets which, the step is the same.
TEST_F(TrainerTest, BalanceDoesNotChangeWhatIsLearnt) {
  train(config);
  for (const std::string balance : {"cost", "none"}) {
    TrainConfig other = config;
    other.run.dir = dir + "/" + balance;
    other.data.balance = balance;
    train(other);
    EXPECT_LE(testing::relative_error(losses_of(other.run.dir), losses_of(config.run.dir)), 1e-5) << balance;
  }
  config.run.dir = dir + "/alone";
  config.train.micro_batch = 1;
  const std::vector<double> packed = losses_of(dir + "/run");
  train(config);
  EXPECT_LE(testing::relative_error(losses_of(config.run.dir), packed), 1e-5);
}

TEST_F(TrainerTest, TellsWhatItDrew) {
  config.data.train = {{dir + "/train.h5", 3}, {dir + "/bad.h5", 1}};
  DatasetWriter writer(dir + "/bad.h5");
  Sample sample{.id = "0", .language = Language::chinese, .source = "test"};
  sample.parts = {text_part("有吗？"), answer_part("没有", "existence", Polarity::negative)};
  writer.add(sample);
  writer.close();
  config.train.steps = 4;
  train(config);
  double share = 0, epochs = 0, negative = 0;
  std::istringstream lines(read_file(config.run.dir + "/metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const nlohmann::json entry = nlohmann::json::parse(line);
    negative += entry.value("answers_negative", 0.0);
    share = entry.value("mixture/" + dir + "/bad.h5", share);
    epochs = entry.value("epochs/" + dir + "/bad.h5", epochs);
  }
  EXPECT_NEAR(share, 0.25, 0.03);
  EXPECT_EQ(epochs, negative);  // each of its draws is one epoch, and one negative answer
  EXPECT_NEAR(negative, 12, 2);
}

TEST_F(TrainerTest, ACheckpointOfAnotherModelIsRefusedAndItsRunIsLeftAsItWas) {
  train(config);
  const std::string before = read_file(config.run.dir + "/config.ini");
  config.model.lora_rank = 8;
  EXPECT_THAT(error_of([&] { train(config); }), AllOf(HasSubstr("lora_A"), HasSubstr("model.lora_rank 4, now 8")));
  EXPECT_EQ(read_file(config.run.dir + "/config.ini"), before);
  EXPECT_EQ(read_starts(config.run.dir).size(), 1U);
}

TEST_F(TrainerTest, StartedAnewItGoesOnFromItsOwnCheckpointsFromThenOn) {
  train(config);
  config.run.resume = "none";
  config.train.steps = 3;
  train(config);
  EXPECT_TRUE(std::filesystem::exists(checkpoint_path(checkpoint_folder(config.run.dir), 6) + ".abandoned"));
  config.run.resume = "auto";
  config.train.steps = 5;
  train(config);
  EXPECT_EQ(losses_of(config.run.dir).size(), 6U + 3U + 2U);
}

TEST_F(TrainerTest, ARestartGoesOnWhateverTheFirstStartWasAsked) {
  config.run.resume = "none";
  config.train.steps = 4;
  train(config);
  setenv("SLURM_RESTART_COUNT", "1", 1);
  config.train.steps = 6;
  train(config);
  unsetenv("SLURM_RESTART_COUNT");
  EXPECT_EQ(losses_of(config.run.dir).size(), 6U);
}

TEST_F(TrainerTest, WhatItTrainedIsSetAsideOnceItGoesOn) {
  train(config);
  const std::string trained = config.run.dir + "/trained.safetensors", whole = read_file(trained);
  config.train.steps = 100000;
  EXPECT_EQ(train_until_signal(8), RunEnd::stopped);
  EXPECT_FALSE(std::filesystem::exists(trained));
  EXPECT_EQ(read_file(config.run.dir + "/trained.previous.safetensors"), whole);
}

TEST_F(TrainerTest, AnotherBatchGoesOnWithTheSamplesThatWereNotSeen) {
  config.train.steps = 4;
  train(config);
  config.train.steps = 7;
  config.train.global_batch = 6;
  config.train.learning_rate = 1e-3F;
  train(config);
  EXPECT_EQ(losses_of(config.run.dir).size(), 7U);
  const auto last = newest_checkpoint(checkpoint_folder(config.run.dir));
  ASSERT_TRUE(last);
  EXPECT_EQ(last->info().position, 4 * 12 + 3 * 6);
  EXPECT_EQ(last->info().updates, 7);
  EXPECT_THAT(last->info().origins.at(0).path, HasSubstr("trained.safetensors"));
}

TEST_F(TrainerTest, ARunThatWasKilledBetweenItsLastCheckpointAndItsEndEnds) {
  train(config);
  const std::string trained = config.run.dir + "/trained.safetensors", whole = read_file(trained);
  std::filesystem::remove(trained);
  EXPECT_EQ(Trainer(config, one).run(), RunEnd::done);
  EXPECT_EQ(losses_of(config.run.dir).size(), 6U);
  EXPECT_EQ(read_file(trained), whole);
}

TEST_F(TrainerTest, StepsThatAreNotFiniteAreSkippedAndEndTheRunWithTheirSamples) {
  config.train.learning_rate = 1e30F;  // the first update ruins the weights
  config.train.warmup_steps = 0;
  config.train.clip_norm = 0;
  config.train.most_skipped = 3;
  const std::string message = error_of([&] { train(config); });
  EXPECT_THAT(message,
              AllOf(HasSubstr("3 steps in a row were skipped"), HasSubstr("not finite"), HasSubstr("Samples: ")));
  std::istringstream lines(read_file(config.run.dir + "/skipped_steps.jsonl"));
  int steps = 0;
  for (std::string line; std::getline(lines, line); ++steps) {
    std::size_t samples = 0;
    const nlohmann::json skipped = nlohmann::json::parse(line);
    for (const auto& batch : skipped.at("micro_batches")) samples += batch.at("samples").size();
    EXPECT_EQ(samples, 12U);
  }
  EXPECT_EQ(steps, 3);
}

// One sample a step, of which every third is left out; each is drawn once in 24 steps.
TEST_F(TrainerTest, StepsWithoutAnAnswerAreSkippedAndNameWhatWasLeftOut) {
  std::set<std::string> ids;
  for (int i = 0; i < 24; i += 3) ids.insert(std::to_string(i));
  write_file(dir + "/quarantine.txt", fmt::format("{}\n", fmt::join(ids, "\n")));
  config.data.quarantine = dir + "/quarantine.txt";
  config.train.global_batch = config.train.micro_batch = 1;
  for (const std::int64_t steps : {12, 24}) {
    config.train.steps = steps;
    train(config);
  }
  std::istringstream lines(read_file(config.run.dir + "/skipped_steps.jsonl"));
  std::set<std::string> named;
  for (std::string line; std::getline(lines, line);) {
    const nlohmann::json skipped = nlohmann::json::parse(line);
    EXPECT_THAT(skipped.at("reason").get<std::string>(), HasSubstr("has an answer to learn"));
    for (const std::string id : skipped.at("micro_batches").at(0).at("samples")) named.insert(id);
  }
  EXPECT_EQ(named, ids);
  EXPECT_EQ(newest_checkpoint(checkpoint_folder(config.run.dir))->info().step, 24);

  config.run.dir = dir + "/none";
  config.train.most_skipped = 1;
  EXPECT_THAT(error_of([&] { train(config); }),
              AllOf(HasSubstr("1 steps in a row were skipped"), HasSubstr("no sample of it has an answer to learn")));
}

TEST_F(TrainerTest, WhatIsInQuarantineIsNotTrainedOn) {
  std::string ids = "# all that have pictures\n";
  for (int i = 0; i < 24; ++i) {
    if (i % 3 != 0) ids += std::to_string(i) + "\n";
  }
  write_file(dir + "/quarantine.txt", ids);
  config.data.quarantine = dir + "/quarantine.txt";
  config.train.steps = 2;
  train(config);
  std::istringstream lines(read_file(config.run.dir + "/metrics.jsonl"));
  int steps = 0;
  for (std::string line; std::getline(lines, line);) {
    const nlohmann::json entry = nlohmann::json::parse(line);
    if (!entry.contains("loss")) continue;
    EXPECT_EQ(entry.at("images"), 0);
    ++steps;
  }
  EXPECT_EQ(steps, 2);
}

TEST_F(TrainerTest, FrozenWeightsThatNoFileHasAreNamed) {
  config.model.weights.clear();
  EXPECT_THAT(error_of([&] { train(config); }), HasSubstr("vision_model"));
}

// A copy of the tiny run's frozen weights in which one is another.
std::string with_another(const std::string& dir, const std::string& name) {
  const SafetensorsReader file(dir + "/trained.safetensors");
  NamedTensors tensors;
  for (const WeightEntry& entry : file.entries()) {
    tensors.emplace_back(entry.name, file.read(entry.name));
    if (entry.name == name) tensors.back().second.fill(0.25);
  }
  write_safetensors(dir + "/other.safetensors", tensors);
  return dir + "/other.safetensors";
}

TEST_F(TrainerTest, WhatTrainedGoesOnWithItsSettingsAndItsFrozenWeightsAlone) {
  config.train.steps = 1;
  train(config);
  TrainConfig next = config;
  next.model.weights.push_back(config.run.dir + "/trained.safetensors");
  EXPECT_NO_THROW(assemble(next));
  const auto refusal = [&](const std::function<void(TrainConfig&)>& change) {
    TrainConfig other = next;
    change(other);
    return error_of([&] { assemble(other); });
  };
  EXPECT_THAT(refusal([](TrainConfig& c) { c.model.lora_alpha = 8; }), HasSubstr("model.lora_alpha 32, here 8"));
  EXPECT_THAT(refusal([](TrainConfig& c) { c.model.rslora = true; }), HasSubstr("model.rslora false, here true"));
  EXPECT_THAT(refusal([](TrainConfig& c) { c.model.lora_targets = {"q_proj"}; }), HasSubstr("here q_proj"));
  EXPECT_THAT(refusal([](TrainConfig& c) { c.model.queries = 9; }), HasSubstr("model.queries 4, here 9"));
  const auto frozen_with = [&](const std::string& name) {
    return refusal([&](TrainConfig& c) { c.model.weights.front() = with_another(dir, name); });
  };
  EXPECT_THAT(frozen_with("model.norm.weight"), HasSubstr("another frozen decoder"));
  EXPECT_THAT(frozen_with("vision_model.embeddings.position_embedding.weight"), HasSubstr("another frozen vision"));
  // The same model in other bits, or with LoRA merged into it, is no other.
  EXPECT_EQ(frozen_with("model.layers.0.self_attn.q_proj.weight"), "no error");
  EXPECT_EQ(refusal([](TrainConfig& c) { c.model.frozen_format = "nf4"; }), "no error");
  // A ViT that trains is not compared.
  next.model.train = {"vision", "resampler", "lora"};
  EXPECT_EQ(frozen_with("vision_model.embeddings.position_embedding.weight"), "no error");
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
