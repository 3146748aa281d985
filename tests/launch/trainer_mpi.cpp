// Ranks change nothing: the same losses as one rank alone, and the same weights on every rank and in every run.
#include <unistd.h>

#include <csignal>
#include <map>
#include <optional>
#include <set>
#include <thread>

#include "core/log.hpp"
#include "core/trace.hpp"
#include "io/checkpoint_folder.hpp"
#include "launch/training/ranks_report.hpp"
#include "launch/training/stragglers.hpp"
#include "parallel/watchdog.hpp"
#include "support/mpi_main.hpp"
#include "support/shared_folder.hpp"
#include "support/slow_file.hpp"
#include "support/support.hpp"
#include "support/tiny_training.hpp"

namespace skymm {
namespace {

using testing::ranks;

TEST(TrainerOnRanks, LossesEqualThoseOfOneRankAndRunsRepeat) {
  const testing::SharedFolder folder;
  const std::string& dir = folder.path();
  if (ranks().rank() == 0) {
    TrainConfig alone = testing::tiny_training(dir);
    alone.run.dir = dir + "/alone";
    SingleCommunicator one;
    Trainer(alone, one).run();
    write_file(dir + "/several.ini", to_ini(testing::tiny_training(dir)));
  }
  ranks().barrier();
  TrainConfig config = *parse_config({"--config", dir + "/several.ini"});
  for (const char* name : {"/several", "/again"}) {
    config.run.dir = dir + name;
    Trainer(config, ranks()).run();
    ranks().barrier();
  }
  if (ranks().rank() == 0) {
    EXPECT_LE(testing::relative_error(testing::losses_of(dir + "/several"), testing::losses_of(dir + "/alone")), 1e-5);
    EXPECT_EQ(read_file(dir + "/several/trained.safetensors"), read_file(dir + "/again/trained.safetensors"));
  }
}

// Four steps on one grid, then two on another.
TEST(TrainerOnRanks, AnotherGridGoesOnWhereOneStopped) {
  const testing::SharedFolder folder;
  const std::string& dir = folder.path();
  if (ranks().rank() == 0) write_file(dir + "/config.ini", to_ini(testing::tiny_training(dir)));
  ranks().barrier();
  const auto train = [&](const std::string& name, std::int64_t steps, int pipeline, int zero) {
    TrainConfig config = *parse_config({"--config", dir + "/config.ini"});
    config.run.dir = dir + "/" + name;
    config.train.checkpoint_every = steps;
    config.train.schedule = "constant";  // the cosine depends on the number of steps
    config.train.steps = steps;
    config.parallel.pipeline = pipeline;
    config.parallel.zero = zero;
    Trainer(config, ranks()).run();
    ranks().barrier();
  };
  train("whole", 6, 1, 0);
  train("pieces", 4, 1, 2);
  train("pieces", 6, ranks().size(), 1);
  if (ranks().rank() == 0) {
    EXPECT_EQ(testing::losses_of(dir + "/pieces").size(), 6U);
    EXPECT_LE(testing::relative_error(testing::losses_of(dir + "/pieces"), testing::losses_of(dir + "/whole")), 1e-5);
  }
}

TEST(TrainerOnRanks, ASignalToOneStopsAllAtTheSameStep) {
  const testing::SharedFolder folder;
  const std::string& dir = folder.path();
  if (ranks().rank() == 0) write_file(dir + "/config.ini", to_ini(testing::tiny_training(dir)));
  ranks().barrier();
  TrainConfig config = *parse_config({"--config", dir + "/config.ini"});
  config.train.steps = 100000;
  config.parallel.pipeline = ranks().size() == 3 ? 3 : 1;
  const bool signalled = ranks().rank() == ranks().size() - 1;
  const StopSignals signals;
  std::thread sender([&] {
    std::error_code absent;
    while (signalled && !(std::filesystem::file_size(config.run.dir + "/metrics.jsonl", absent) > 0 && !absent)) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    if (signalled) ::kill(::getpid(), SIGTERM);
  });
  EXPECT_EQ(Trainer(config, ranks()).run(), RunEnd::stopped);
  sender.join();
  ranks().barrier();
  if (ranks().rank() == 0) {
    EXPECT_EQ(newest_checkpoint(config.run.dir + "/checkpoints")->info().step,
              static_cast<std::int64_t>(testing::losses_of(config.run.dir).size()));
  }
}

// Also where another rank than the first knows the samples, and where gradients are summed as they come.
TEST(TrainerOnRanks, AStepWithoutAnAnswerIsSkippedByAll) {
  const testing::SharedFolder folder;
  const std::string& dir = folder.path();
  if (ranks().rank() == 0) {
    TrainConfig config = testing::tiny_training(dir);
    std::string ids;
    for (int i = 0; i < 24; ++i) ids += std::to_string(i) + "\n";
    write_file(dir + "/quarantine.txt", ids);
    config.data.quarantine = dir + "/quarantine.txt";
    config.train.most_skipped = 2;
    write_file(dir + "/config.ini", to_ini(config));
  }
  ranks().barrier();
  for (const int pipeline : {1, ranks().size()}) {
    TrainConfig config = *parse_config({"--config", dir + "/config.ini"});
    config.run.dir = fmt::format("{}/{}", dir, pipeline);
    config.parallel.pipeline = pipeline;
    config.parallel.zero = 2;
    EXPECT_THAT(
        testing::error_of([&] { Trainer(config, ranks()).run(); }),
        ::testing::AllOf(::testing::HasSubstr("2 steps in a row"), ::testing::HasSubstr("has an answer to learn"),
                         ::testing::ContainsRegex("Samples: [0-9]+,")));
    ranks().barrier();
  }
}

TEST(TrainerOnRanks, AllRanksAnswerAndLearnTheSame) {
  const testing::SharedFolder folder;
  const std::string& dir = folder.path();
  if (ranks().rank() == 0) {
    const TrainConfig asked = testing::with_evaluation(testing::tiny_training(dir), dir);
    write_file(dir + "/asked.ini", to_ini(asked));
    TrainConfig alone = asked;
    alone.run.dir = dir + "/alone";
    SingleCommunicator one;
    Trainer(alone, one).run();
  }
  ranks().barrier();
  const TrainConfig asked = *parse_config({"--config", dir + "/asked.ini"});
  for (const int zero : {0, 1, 2, 3}) {
    const auto train = [&](const char* name, bool asks) {
      TrainConfig config = asked;
      config.run.dir = fmt::format("{}/{}{}", dir, name, zero);
      config.parallel.zero = zero;
      if (!asks) config.train.evaluate_every = 0;
      Trainer(config, ranks()).run();
      ranks().barrier();
      return config.run.dir;
    };
    const std::string with = train("with", true), without = train("without", false);
    if (ranks().rank() != 0) continue;
    EXPECT_EQ(testing::losses_of(with), testing::losses_of(without)) << "ZeRO stage " << zero;
    EXPECT_EQ(read_file(with + "/trained.safetensors"), read_file(without + "/trained.safetensors"));
    for (const char* set : {"mme", "mmbench", "pope"}) {
      const std::string name = fmt::format("/eval/step_00000002/{}.json", set);
      const auto all = nlohmann::json::parse(read_file(with + name)),
                 of_one = nlohmann::json::parse(read_file(dir + "/alone" + name));
      EXPECT_EQ(all.at("answers"), of_one.at("answers")) << set << ", ZeRO stage " << zero;
      EXPECT_EQ(all.at("unasked").at("count"), of_one.at("unasked").at("count"));
    }
  }
}

// The last picture takes longer to read than a rank may wait in a step.
TEST(TrainerOnRanks, WhoHasAnsweredItsShareWaitsForTheOthers) {
  const testing::SharedFolder folder;
  const std::string& dir = folder.path();
  if (ranks().rank() == 0) {
    TrainConfig config = testing::with_evaluation(testing::tiny_training(dir), dir);
    std::string lines;
    for (int i = 0; i < 7; ++i) lines += testing::pope_line(i < 6 ? "0.png" : "slow.png", "no");
    write_file(dir + "/pope_random.json", lines);
    config.data.evaluation = {"pope=" + dir + "/pope_random.json"};
    config.train.steps = config.train.evaluate_every = 2;
    write_file(dir + "/config.ini", to_ini(config));
  }
  std::optional<testing::SlowFile> slow;
  if (ranks().rank() == 1) slow.emplace(dir + "/slow.png", testing::tiny_picture(1), std::chrono::seconds(6));
  ranks().barrier();
  const TrainConfig config = *parse_config({"--config", dir + "/config.ini"});
  set_watchdog_limit(4);
  Trainer(config, ranks()).run();
  set_watchdog_limit(300);
  ranks().barrier();
  EXPECT_EQ(testing::losses_of(config.run.dir, "pope/random_accuracy").size(), 1U);
}

TEST(TrainerOnRanks, AGridThatDoesNotFitIsRefusedWithThoseThatDo) {
  const testing::SharedFolder folder;
  const std::string& dir = folder.path();
  if (ranks().rank() == 0) write_file(dir + "/config.ini", to_ini(testing::tiny_training(dir)));
  ranks().barrier();
  const auto error_of = [&](const std::function<void(TrainConfig&)>& change) {
    TrainConfig config = *parse_config({"--config", dir + "/config.ini"});
    change(config);
    return testing::error_of([&] { Trainer(config, ranks()).run(); });
  };
  EXPECT_THAT(error_of([](TrainConfig& c) { c.parallel.data = ranks().size() + 1; }),
              ::testing::HasSubstr("grids that fit"));
  EXPECT_THAT(error_of([](TrainConfig& c) { c.parallel.pipeline = 40; }), ::testing::HasSubstr("at most"));
  EXPECT_THAT(error_of([](TrainConfig& c) { c.train.global_batch = c.train.micro_batch = 1; }),
              ::testing::HasSubstr("no sample for each"));
}

// What Perfetto and chrome://tracing ask of a trace in the Trace Event Format: an array of objects; "M" names a
// process; "X" has a name, a category, a time and a duration in microseconds, a process and a thread, and the spans of
// one thread lie inside each other or apart.
void expect_well_formed(const nlohmann::json& events, int processes) {
  ASSERT_TRUE(events.is_array());
  std::set<int> named, seen;
  std::map<std::pair<int, int>, std::vector<std::pair<double, double>>> threads;  // begin, end; microseconds
  for (const auto& event : events) {
    ASSERT_TRUE(event.at("ph").is_string() && event.at("name").is_string() && event.at("pid").is_number_integer());
    const int process = event.at("pid");
    if (event.at("ph") == "M") {
      EXPECT_EQ(event.at("name"), "process_name");
      EXPECT_TRUE(event.at("args").at("name").is_string());
      EXPECT_TRUE(named.insert(process).second) << "process " << process << " is named twice";
      continue;
    }
    EXPECT_EQ(event.at("ph"), "X");
    ASSERT_TRUE(event.at("cat").is_string() && event.at("tid").is_number_integer());
    ASSERT_TRUE(event.at("ts").is_number() && event.at("dur").is_number());
    const double begin = event.at("ts"), duration = event.at("dur");
    EXPECT_GE(begin, 0);
    EXPECT_GE(duration, 0);
    EXPECT_LT(begin, 3.6e9);  // since the job's start, not since 1970: a double keeps its nanoseconds
    seen.insert(process);
    threads[{process, event.at("tid")}].emplace_back(begin, begin + duration);
  }
  EXPECT_EQ(static_cast<int>(named.size()), processes);
  EXPECT_EQ(seen, named);
  for (auto& [thread, spans] : threads) {
    std::ranges::sort(spans, [](const auto& a, const auto& b) {
      return std::pair(a.first, -a.second) < std::pair(b.first, -b.second);
    });
    std::vector<double> open;  // ends of the spans around
    for (const auto& [begin, end] : spans) {
      while (!open.empty() && open.back() <= begin + 1e-4) open.pop_back();
      EXPECT_TRUE(open.empty() || end <= open.back() + 1e-4) << "a span of rank " << thread.first << " ends outside";
      open.push_back(end);
    }
  }
}

TEST(TrainerOnRanks, TracesOfAllRanksAreJoined) {
  const testing::SharedFolder folder;
  const std::string& dir = folder.path();
  if (ranks().rank() == 0) {
    TrainConfig config = testing::tiny_training(dir);
    config.train.steps = 2;
    config.parallel.pipeline = ranks().size();
    write_file(dir + "/train.ini", to_ini(config));
  }
  ranks().barrier();
  enable_trace();
  Trainer(*parse_config({"--config", dir + "/train.ini"}), ranks()).run();
  write_trace(ranks(), dir + "/there is no such folder/trace.json");  // a warning
  write_trace(ranks(), dir + "/trace.json");
  if (ranks().rank() == 0) {
    const nlohmann::json events = nlohmann::json::parse(read_file(dir + "/trace.json"));
    expect_well_formed(events, ranks().size());
    std::map<std::string, std::set<int>> processes;
    for (const auto& event : events) processes[event.at("name")].insert(event.at("pid").get<int>());
    for (const char* name : {"step", "forward", "backward", "optimizer"}) {
      EXPECT_EQ(static_cast<int>(processes[name].size()), ranks().size()) << name;
    }
  }
}

// The last stage takes ten times as long as the others for as much work, and later no more.
TEST(TrainerOnRanks, ASlowStageOfAPipelineIsNamedOnce) {
  const int last = ranks().size() - 1;
  Grid grid(ranks(), {1, ranks().size()}, GridOrder::pipeline_inside);
  StragglerWatch watch(grid, [](const StepCounts& counts) {
    EXPECT_EQ(counts.tokens, 300);
    EXPECT_DOUBLE_EQ(counts.mean_length, (100 * 10.0 + 200 * 20.0) / 300);
    return std::vector<double>(static_cast<std::size_t>(ranks().size()), 5.0);
  });
  set_log_level(LogLevel::info);
  std::vector<int> told;
  for (const double seconds : {10, 10, 1, 10}) {
    watch.add(ranks().rank() == last ? seconds : 1, {.tokens = 100, .mean_length = 10});
    watch.add(ranks().rank() == last ? seconds : 1, {.tokens = 200, .mean_length = 20});
    ::testing::internal::CaptureStderr();
    watch.report();
    const std::string log = ::testing::internal::GetCapturedStderr();
    told.push_back(log.find(fmt::format("straggler: rank {} ", last)) != std::string::npos);
  }
  if (ranks().rank() == 0) {
    EXPECT_EQ(told, (std::vector<int>{1, 0, 0, 1}));
  }
}

// Each rank's clock is a thousand seconds ahead of that of the rank before.
TEST(TrainerOnRanks, ClocksThatDifferAreNamed) {
  constexpr std::int64_t thousand_seconds = 1'000'000'000'000;
  const auto clock = [] { return system_nanoseconds() + ranks().rank() * thousand_seconds; };
  const auto offset = static_cast<double>(clock_offset(ranks(), clock));
  EXPECT_NEAR(offset, static_cast<double>(ranks().rank()) * thousand_seconds, 0.1 * thousand_seconds);
  EXPECT_THAT(clock_differences(ranks(), clock), ::testing::ContainsRegex("\\(rank 1\\) by [0-9.]+ s"));
  EXPECT_EQ(clock_offset(ranks()), 0);  // one host has one clock
}

TEST(TrainerOnRanks, TheMemoryTableNamesTheRankThatUsedMost) {
  cpu().allocator().reset_peak();
  const Tensor mine = Tensor::zeros({(1 + ranks().rank()) << 22}, DType::u8);  // 4 MiB more from rank to rank
  const std::string table = memory_table(ranks());
  EXPECT_THAT(table, ::testing::ContainsRegex(fmt::format("all +[0-9.]+ +{}\n", ranks().size() - 1)));
}

}  // namespace
}  // namespace skymm

int main(int argc, char** argv) { return skymm::testing::run_mpi_tests(argc, argv); }
