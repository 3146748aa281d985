// A run that was saved on one grid goes on, on any other, as if nothing had happened.
//
// A few grids by default; SKYMM_ALL_GRIDS=1 in the environment takes all of up to as many ranks, at every ZeRO stage.
#include <cstdlib>

#include "core/log.hpp"
#include "io/checkpoint_folder.hpp"
#include "parallel/gather_text.hpp"
#include "support/grid_cases.hpp"
#include "support/mpi_main.hpp"
#include "support/shared_folder.hpp"
#include "support/support.hpp"
#include "support/tiny_training.hpp"

namespace skymm {
namespace {

using testing::GridCase;
using testing::ranks;

constexpr std::int64_t saved_after = 4, steps = 8;

std::vector<GridCase> grids_to_resume_on() {
  const char* asked = std::getenv("SKYMM_ALL_GRIDS");
  std::vector<GridCase> cases;
  if (asked != nullptr && std::string(asked) == "1") {
    for (int size = 1; size <= ranks().size(); ++size) {
      for (const GridShape& grid : grids_of(size, 8)) {
        for (int zero = 0; zero <= 3; ++zero) cases.push_back({grid, "1f1b", zero});
      }
    }
    return cases;
  }
  cases = {{{1, 1}, "1f1b", 0}, {{ranks().size(), 1}, "1f1b", 1}};
  cases.push_back({{1, std::min(3, ranks().size())}, "1f1b", 3});
  return cases;
}

TEST(Elastic, LossesGoOnOnAnyGridAndBitByBitOnTheSame) {
  set_log_level(LogLevel::warn);
  const testing::SharedFolder folder;
  const std::string& dir = folder.path();
  if (ranks().rank() == 0) {
    TrainConfig config = testing::tiny_training(dir);
    config.train.steps = steps;
    config.train.checkpoint_every = saved_after;
    config.train.epsilon = 1e-5F;  // above the rounding noise of gradients that are zero
    write_file(dir + "/config.ini", to_ini(config));
  }
  ranks().barrier();
  const auto train = [&](Communicator& world, const GridCase& one, const std::string& name, const std::string& from) {
    TrainConfig config = *parse_config({"--config", dir + "/config.ini"});
    one.apply(config);
    config.run.dir = dir + "/" + name;
    config.run.resume = from;
    Trainer(config, world).run();
  };
  const int stages = ranks().size() % 2 == 0 && ranks().size() > 2 ? 2 : 1;
  const GridCase home{{ranks().size() / stages, stages}, "1f1b", 2};
  train(ranks(), home, "whole", "none");
  const std::string saved = checkpoint_path(checkpoint_folder(dir + "/whole"), saved_after);

  train(ranks(), home, "same", saved);
  if (ranks().rank() == 0) {
    EXPECT_EQ(read_file(dir + "/same/trained.safetensors"), read_file(dir + "/whole/trained.safetensors"));
  }
  std::vector<double> expected;
  if (ranks().rank() == 0) {
    expected = testing::losses_of(dir + "/whole");
    expected.erase(expected.begin(), expected.begin() + saved_after);
  }
  for (const GridCase& one : grids_to_resume_on()) {
    SCOPED_TRACE(one.name());
    ranks().barrier();
    const auto some = ranks().split(ranks().rank() < one.grid.size() ? 0 : 1, 0);
    if (ranks().rank() < one.grid.size()) train(*some, one, one.name(), saved);
    if (ranks().rank() != 0) continue;
    EXPECT_LE(testing::relative_error(testing::losses_of(dir + "/" + one.name()), expected), 1e-5);
  }
}

}  // namespace
}  // namespace skymm

int main(int argc, char** argv) { return skymm::testing::run_mpi_tests(argc, argv); }
