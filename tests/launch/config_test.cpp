#include "launch/config/config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "support/text.hpp"

namespace skymm {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Config : public ::testing::Test {
 protected:
  Config() : folder_(::testing::TempDir() + "skymm_config") { std::filesystem::create_directories(folder_); }
  ~Config() override { std::filesystem::remove_all(folder_); }

  std::string recipe(const std::string& text, const std::string& name = "recipe.ini") const {
    std::ofstream(folder_ + "/" + name) << text;
    return folder_ + "/" + name;
  }
  // With what every run needs.
  static TrainConfig parse(std::vector<std::string> arguments) {
    if (std::ranges::find(arguments, "--data.train") == arguments.end()) {
      arguments.insert(arguments.end(), {"--data.train", "a.h5"});
    }
    arguments.insert(arguments.end(), {"--model.tokenizer=t.model"});
    return parse_config(arguments).value();
  }
  static std::string error_of(std::vector<std::string> arguments) {
    try {
      parse(std::move(arguments));
    } catch (const UsageError& error) {
      return error.message();
    }
    return "no error";
  }

  std::string folder_;
};

TEST_F(Config, CommandLineWinsOverRecipeOverDefaults) {
  const std::string path = recipe("# nano\n[train]\nsteps = 50   # short\nschedule = constant\n[model]\nlora_rank=4\n");
  const TrainConfig config = parse({"--train.steps", "60", "--config", path});
  EXPECT_EQ(config.train.steps, 60);
  EXPECT_EQ(config.train.schedule, "constant");
  EXPECT_EQ(config.model.lora_rank, 4);
  EXPECT_EQ(config.train.global_batch, TrainConfig().train.global_batch);
}

TEST_F(Config, LaterRecipesWin) {
  const std::string a = recipe("[train]\nsteps = 50\nlog_every = 3\n", "a.ini");
  const std::string b = recipe("[train]\nsteps = 70\n", "b.ini");
  const TrainConfig config = parse({"--config", a, "--config", b});
  EXPECT_EQ(config.train.steps, 70);
  EXPECT_EQ(config.train.log_every, 3);
}

TEST_F(Config, ReadsEveryKindOfValue) {
  const TrainConfig config = parse({"--data.train", "x.h5:2.5, y.h5", "--model.lora_targets=q_proj, v_proj",
                                    "--data.augment", "false", "--train.learning_rate", "2e-4", "--run.seed",
                                    "18446744073709551615", "--train.time_limit_minutes", "7.5"});
  EXPECT_THAT(config.data.train, ElementsAre(SourceConfig{"x.h5", 2.5}, SourceConfig{"y.h5", 1}));
  EXPECT_THAT(config.model.lora_targets, ElementsAre("q_proj", "v_proj"));
  EXPECT_FALSE(config.data.augment);
  EXPECT_FLOAT_EQ(config.train.learning_rate, 2e-4F);
  EXPECT_EQ(config.run.seed, 18446744073709551615U);
  EXPECT_EQ(config.train.time_limit_minutes, 7.5);
}

TEST_F(Config, ReadsTheMemoryOfARank) {
  EXPECT_EQ(memory_limit(parse({}).parallel), 0);
  EXPECT_EQ(memory_limit(parse({"--parallel.memory", "1.5K"}).parallel), 1536);
  EXPECT_THAT(error_of({"--parallel.memory", "much"}), HasSubstr("parallel.memory: 'much' is neither none nor a size"));
}

TEST_F(Config, DataSetsTakeWeightsOrEpochs) {
  const TrainConfig config = parse({"--data.train", "x.h5:2e, y.h5:0.5e"});
  EXPECT_THAT(config.data.train, ElementsAre(SourceConfig{"x.h5", 1, 2}, SourceConfig{"y.h5", 1, 0.5}));
  EXPECT_THAT(to_ini(config), HasSubstr("train = x.h5:2e,y.h5:0.5e\n"));
  EXPECT_EQ(parse_config({"--config", recipe(to_ini(config))}).value().data.train, config.data.train);
  EXPECT_THAT(error_of({"--data.train", "x.h5:2e,y.h5:3"}), HasSubstr("give each of them epochs"));
  EXPECT_THAT(error_of({"--data.train", "x.h5:2e,y.h5"}), HasSubstr("give each of them epochs"));
  EXPECT_THAT(error_of({"--data.train", "x.h5:0e"}), HasSubstr("not more than 0"));
  EXPECT_THAT(error_of({"--data.train", "x.h5:e"}), HasSubstr("data.train"));
  EXPECT_THAT(error_of({"--data.train", "x.h5:2e", "--data.temperature", "1"}), HasSubstr("leave it 0"));
  EXPECT_THAT(error_of({"--data.train", "x.h5:2e", "--data.chinese_weight", "2"}), HasSubstr("whole data sets"));
  EXPECT_THAT(error_of({"--data.validation", "x.h5:2e"}), HasSubstr("data.validation takes no weights"));
}

TEST_F(Config, ParallelOptionsThatDoNotGoTogetherAreRefused) {
  EXPECT_THAT(error_of({"--parallel.schedule", "interleaved"}), HasSubstr("set parallel.chunks 2"));
  EXPECT_THAT(error_of({"--parallel.pipeline", "2", "--parallel.chunks", "2"}), HasSubstr("it is 1f1b"));
  EXPECT_THAT(error_of({"--parallel.chunks", "2", "--parallel.schedule", "interleaved"}),
              HasSubstr("parallel.pipeline 2 or more"));
  EXPECT_THAT(error_of({"--parallel.zero", "4"}), HasSubstr("0 to 3"));
  EXPECT_THAT(error_of({"--parallel.transport", "nccl"}), HasSubstr("run.device is cpu"));
  EXPECT_THAT(error_of({"--parallel.transport", "gloo"}), HasSubstr("mpi"));
  EXPECT_THAT(error_of({"--train.objective", "lvm", "--parallel.pipeline", "2"}),
              HasSubstr("data-parallel ranks only"));
  EXPECT_THAT(error_of({"--parallel.shard_frozen", "true", "--model.train", "decoder"}), HasSubstr("parallel.zero 3"));
  EXPECT_THAT(error_of({"--parallel.shard_frozen", "true", "--train.objective", "lvm"}), HasSubstr("has none"));
  EXPECT_THAT(error_of({"--train.objective", "lvm", "--run.save_before_end", "5"}), HasSubstr("has no checkpoints"));
  EXPECT_THAT(error_of({"--train.objective", "lvm", "--data.train", "a.h5, b.h5"}), HasSubstr("takes one data set"));
  EXPECT_THAT(error_of({"--train.objective", "lvm", "--data.validation", "none"}), HasSubstr("takes one data set"));
  EXPECT_THAT(error_of({"--train.objective", "lvm", "--data.train", "a.h5", "--data.validation", "b.h5", "--run.resume",
                        "none"}),
              HasSubstr("leave run.resume auto"));
}

TEST_F(Config, WhatIsComputedAgainIsSaidOfAllStagesOrOfEach) {
  EXPECT_THAT(recompute_modes(parse({}).model), ElementsAre(Recompute::none));
  EXPECT_THAT(recompute_modes(parse({"--model.recompute", "attention+mlp"}).model),
              ElementsAre(Recompute::attention_mlp));
  const TrainConfig each = parse({"--model.recompute", "full,none", "--parallel.pipeline", "2"});
  EXPECT_THAT(recompute_modes(each.model), ElementsAre(Recompute::full, Recompute::none));
  EXPECT_THAT(to_ini(each), HasSubstr("recompute = full,none"));
  EXPECT_THAT(
      error_of({"--model.recompute", "full,none", "--parallel.pipeline", "3"}),
      HasSubstr("model.recompute has 2 entries: give one for all stages, or one for each of parallel.pipeline 3"));
  EXPECT_THAT(error_of({"--model.recompute", "true"}), HasSubstr("it takes none, attention+mlp, full"));
}

TEST_F(Config, EvaluationsThatCouldNotBeDoneAreRefused) {
  const auto refused = [&](const std::string& sets, std::vector<std::string> more) {
    more.insert(more.end(), {"--data.evaluation", sets});
    return error_of(more);
  };
  const std::vector<std::string> often = {"--train.evaluate_every", "10"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.end(), often.begin(), often.end());
    return more;
  };
  EXPECT_THAT(refused("mme=a", often), "no error");
  EXPECT_THAT(refused("mme", often), HasSubstr("'mme' is not mme=DIR, mmbench=FILE or pope=PATH"));
  EXPECT_THAT(refused("mmb=a", often), HasSubstr("'mmb=a' is not"));
  EXPECT_THAT(refused("mme=a/en,mme=b/en/", often), HasSubstr("would both be called mme_en"));
  EXPECT_THAT(refused("mme=a", {}), HasSubstr("0: never"));
  EXPECT_THAT(error_of(often), HasSubstr("give data.evaluation"));
  EXPECT_THAT(error_of({"--train.evaluate_limit", "5"}), HasSubstr("is for data.evaluation"));
  EXPECT_THAT(refused("mme=a", with({"--data.evaluation_images", "b"})), HasSubstr("for pope"));
  EXPECT_THAT(refused("mme=a", with({"--parallel.pipeline", "2"})), HasSubstr("skymm eval, which may run beside"));
  EXPECT_THAT(refused("mme=a", with({"--parallel.shard_frozen", "true"})), HasSubstr("a part of the decoder"));
  EXPECT_THAT(refused("mme=a", with({"--data.features", "true", "--data.augment", "false"})), HasSubstr("no features"));
  EXPECT_THAT(refused("mme=a", with({"--train.objective", "text", "--model.vision", "none", "--model.train", "lora"})),
              HasSubstr("asks about pictures"));
}

TEST_F(Config, FilesThatAreMissingAreNamedWithTheirOption) {
  TrainConfig config = parse({"--data.train", recipe("", "a.h5")});
  config.model.tokenizer = recipe("", "t.model");
  config.model.weights = {recipe("", "w.safetensors")};
  EXPECT_NO_THROW(check_files(config));
  config.model.weights.emplace_back("nowhere/w.safetensors");
  EXPECT_THAT(testing::error_of([&] { check_files(config); }),
              AllOf(HasSubstr("model.weights: there is no nowhere/w.safetensors"),
                    HasSubstr(std::filesystem::current_path().string())));
  config.model.weights.pop_back();
  config.data.validation = {{"v.h5", 1}};
  EXPECT_THAT(testing::error_of([&] { check_files(config); }), HasSubstr("data.validation: there is no v.h5"));
}

TEST_F(Config, ModelsAreNotFetchedByTheirName) {
  EXPECT_THAT(error_of({"--model.decoder", "meta-llama/Llama-2-7b"}), HasSubstr("download the folder"));
  EXPECT_THAT(error_of({"--model.decoder", "nanoo"}), HasSubstr("did you mean 'nano'"));
}

TEST_F(Config, ValidationHasNoWeights) {
  EXPECT_THAT(error_of({"--data.validation", "x.h5:2"}), HasSubstr("data.validation takes no weights"));
}

TEST_F(Config, TheDeviceHasAShortOption) {
  EXPECT_EQ(parse({}).run.device, "cpu");
  EXPECT_EQ(parse({"--device", "emulated-cuda"}).run.device, "emulated-cuda");
  EXPECT_EQ(parse({"--run.device=cuda"}).run.device, "cuda");
  EXPECT_THAT(error_of({"--device", "gpu"}), HasSubstr("it takes cpu, cuda, emulated-cuda"));
  EXPECT_THAT(error_of({"--device", "cuda", "--train.objective", "lvm"}), HasSubstr("on the cpu alone"));
  EXPECT_THAT(config_help(), HasSubstr("--run.device DEVICE"));
}

// Every build lacks one of them.
TEST_F(Config, ADeviceThatTheBuildLacksNamesThePresetThatHasIt) {
  std::string errors;
  for (const char* device : {"cuda", "emulated-cuda"}) {
    try {
      device_of({.device = device});
    } catch (const Error& error) {
      errors += error.message();
    }
  }
  EXPECT_THAT(errors, HasSubstr("configure with the preset"));
}

TEST_F(Config, CudnnIsOffUnlessAskedForAndRefusedWhereItWouldComputeNothing) {
  EXPECT_TRUE(parse({}).run.cudnn.empty());
  const TrainConfig both = parse({"--device", "cuda", "--run.cudnn", "attention,patch_embedding"});
  EXPECT_THAT(both.run.cudnn, ElementsAre("attention", "patch_embedding"));
  EXPECT_THAT(to_ini(both), HasSubstr("cudnn = attention,patch_embedding"));
  const auto error_with = [&](const std::string& what, std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--run.cudnn", what});
    return error_of(arguments);
  };
  for (const char* device : {"cpu", "emulated-cuda"}) {
    EXPECT_THAT(error_with("attention", {"--device", device}), HasSubstr(fmt::format("run.device is {}", device)));
  }
  EXPECT_THAT(error_with("norms", {"--device", "cuda"}), HasSubstr("it takes attention, patch_embedding"));
  EXPECT_THAT(error_with("attention", {"--device", "cuda", "--model.dtype", "f32"}), HasSubstr("computes in bf16"));
  const auto patches_with = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--device", "cuda"});
    return error_with("patch_embedding", arguments);
  };
  EXPECT_EQ(patches_with({}), "no error");
  EXPECT_THAT(patches_with({"--model.train", "vision,resampler"}), HasSubstr("for a frozen vision model"));
  EXPECT_THAT(patches_with({"--model.frozen_format", "nf4"}), HasSubstr("takes plain weights"));
  EXPECT_THAT(patches_with({"--data.features", "true"}), HasSubstr("no vision model sees pixels"));
}

TEST_F(Config, CudnnIsRefusedOnADeviceThatIsNoGpu) {
  try {
    device_of({.device = "cpu", .cudnn = {"attention"}});
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.message(), HasSubstr("set run.device cuda, or run.cudnn none"));
  }
}

TEST_F(Config, UnknownNamesGetTheNearest) {
  const std::string path = recipe("[run]\nseed = 3\n\n[train]\nstesp = 50\n");
  EXPECT_THAT(error_of({"--config", path}), HasSubstr("recipe.ini:5: unknown option 'train.stesp', did you mean "
                                                      "'train.steps'"));
  EXPECT_THAT(error_of({"--train.learning_rat", "1"}), HasSubstr("did you mean '--train.learning_rate'"));
  EXPECT_THAT(error_of({"--learning_rate", "1"}), HasSubstr("did you mean '--train.learning_rate'"));
  EXPECT_THAT(error_of({"--model.steps=1"}), HasSubstr("did you mean '--train.steps'"));
  EXPECT_THAT(error_of({"--train.schedule", "cosin"}), HasSubstr("'cosin' is unknown, did you mean 'cosine'"));
  EXPECT_THAT(error_of({"--model.train", "resampler,lara"}), HasSubstr("did you mean 'lora'"));
  EXPECT_THAT(error_of({"--completely_different", "1"}), HasSubstr("unknown option '--completely_different'; skymm"));
  EXPECT_THAT(error_of({"--train.step", "1"}), HasSubstr("did you mean '--train.steps'")) << "no guessing by prefix";
}

TEST_F(Config, BadValuesSayWhatWouldBeGood) {
  EXPECT_THAT(error_of({"--config", recipe("[train]\nsteps = many\n")}),
              HasSubstr("recipe.ini:2: train.steps: 'many' is not a whole number"));
  EXPECT_THAT(error_of({"--train.steps", "0"}), HasSubstr("--train.steps: 0 is out of range: at least 1"));
  EXPECT_THAT(error_of({"--train.steps", "-5"}), HasSubstr("at least 1"));
  EXPECT_THAT(error_of({"--train.steps", "5x"}), HasSubstr("not a whole number"));
  EXPECT_THAT(error_of({"--train.learning_rate", "0"}), HasSubstr("more than 0"));
  EXPECT_THAT(error_of({"--train.learning_rate", "nan"}), HasSubstr("not a number"));
  EXPECT_THAT(error_of({"--data.negatives", "1.5"}), HasSubstr("0 to 1"));
  EXPECT_THAT(error_of({"--data.augment", "yes"}), HasSubstr("neither true nor false"));
  EXPECT_THAT(error_of({"--data.validation", "a.h5:x"}), HasSubstr("'x' is not a number"));
  EXPECT_THAT(error_of({"--data.validation", "a.h5:0"}), HasSubstr("not more than 0"));
  EXPECT_THAT(error_of({"--model.train", "lora,,resampler"}), HasSubstr("empty item"));
  EXPECT_THAT(error_of({"--data.max_length", "99999999999"}), HasSubstr("out of range"));
  EXPECT_THAT(error_of({"--run.save_before_end", "soon"}), HasSubstr("neither auto, none nor a number of minutes"));
}

TEST_F(Config, RefusesWhatIsNotAnOption) {
  EXPECT_THAT(error_of({"recipe.ini"}), HasSubstr("'recipe.ini' is not expected"));
  EXPECT_THAT(error_of({"--train.steps", "5", "--train.steps", "6"}), HasSubstr("given twice"));
  EXPECT_THAT(error_of({"--config", recipe("[train]\nsteps = 5\nsteps = 6\n")}), HasSubstr("set twice"));
  EXPECT_THAT(error_of({"--config", recipe("[train]\nsteps\n")}), HasSubstr("recipe.ini:2: 'steps' is neither"));
  EXPECT_THAT(error_of({"--config", folder_ + "/absent.ini"}), HasSubstr("cannot be read"));
  EXPECT_THROW(parse_config({"--train.steps"}), UsageError);
}

TEST_F(Config, OptionsMustGoTogether) {
  EXPECT_THROW(parse_config({}), UsageError) << "no data";
  EXPECT_THAT(error_of({"--model.vision", "none"}), HasSubstr("train.objective text"));
  EXPECT_THAT(error_of({"--model.train", "none"}), HasSubstr("nothing would train"));
  EXPECT_THAT(error_of({"--model.train", "lora,decoder"}), HasSubstr("choose one"));
  EXPECT_THAT(error_of({"--model.queries", "15"}), HasSubstr("square"));
  EXPECT_THAT(error_of({"--model.resampler", "mlp", "--model.resampler_positions", "false"}), HasSubstr("qwen"));
  EXPECT_THAT(error_of({"--train.micro_batch", "64"}), HasSubstr("more than train.global_batch 32"));
  EXPECT_THAT(error_of({"--run.resume", "absent.ckpt"}), HasSubstr("no checkpoint absent.ckpt"));
}

TEST_F(Config, SavedConfigReadsBackTheSame) {
  const TrainConfig config =
      parse({"--train.learning_rate", "0.1", "--train.epsilon", "1.5e-9", "--data.train", "v.h5:0.3,w.h5",
             "--model.weights", "a.safetensors,b.safetensors", "--model.rslora", "true", "--run.dir", "runs/a b"});
  const std::string saved = to_ini(config);
  const TrainConfig again = parse_config({"--config", recipe(saved)}).value();
  EXPECT_EQ(to_ini(again), saved);
  EXPECT_EQ(again.train.learning_rate, 0.1F);
  EXPECT_EQ(again.train.epsilon, 1.5e-9F);
  EXPECT_EQ(again.run.dir, "runs/a b");
  EXPECT_EQ(again.data.train, config.data.train);
  EXPECT_THAT(saved, HasSubstr("[model]\ndecoder = nano\n"));
  TrainConfig odd = config;
  odd.run.dir = "runs/#1";
  EXPECT_THROW(to_ini(odd), Error) << "would read back cut at the comment mark";
}

TEST_F(Config, HelpTeachesEveryOption) {
  EXPECT_FALSE(parse_config({"--help"}).has_value());
  const std::string help = config_help(), ini = to_ini(TrainConfig());
  std::string section;
  std::istringstream lines(ini);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("[")) section = line.substr(1, line.size() - 2);
    if (const auto equals = line.find(" = "); equals != std::string::npos) {
      EXPECT_THAT(help, HasSubstr(fmt::format("--{}.{} ", section, line.substr(0, equals))));
    }
  }
  EXPECT_THAT(help, HasSubstr("optimizer steps of the whole run (at least 1); default 1000"));
  std::istringstream help_lines(help);
  for (std::string line; std::getline(help_lines, line);) EXPECT_LE(line.size(), 120U) << line;
}

TEST_F(Config, LearningRateFollowsTheSchedule) {
  const TrainConfig config = parse({"--train.steps", "100", "--train.warmup_steps", "10", "--train.learning_rate", "1",
                                    "--train.min_lr_ratio", "0.1"});
  EXPECT_LT(learning_rate(config, 0), 0.2F);
  EXPECT_NEAR(learning_rate(config, 10), 1.0F, 0.01F);
  EXPECT_NEAR(learning_rate(config, 99), 0.1F, 0.01F);
}

TEST(EditDistance, CountsEdits) {
  EXPECT_EQ(edit_distance("", "abc"), 3);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
  EXPECT_EQ(edit_distance("setps", "steps"), 1);  // neighbours swapped
  EXPECT_EQ(edit_distance("same", "same"), 0);
}

}  // namespace
}  // namespace skymm
