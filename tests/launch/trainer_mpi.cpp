// Ranks change nothing: the same losses as one rank alone, and the same weights on every rank and in every run.
#include <unistd.h>

#include "support/mpi_main.hpp"
#include "support/support.hpp"
#include "support/tiny_training.hpp"

namespace skymm {
namespace {

using testing::ranks;

// One folder for all ranks, named by rank 0.
std::string shared_folder() {
  const Tensor pid = Tensor::full({1}, DType::f64, ::getpid());
  ranks().broadcast(pid, 0);
  return std::filesystem::temp_directory_path() / fmt::format("skymm_trainer_mpi_{:.0f}", pid.item());
}

TEST(TrainerOnRanks, LossesEqualThoseOfOneRankAndRunsRepeat) {
  const std::string dir = shared_folder();
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
    std::filesystem::remove_all(dir);
  }
}

}  // namespace
}  // namespace skymm

int main(int argc, char** argv) { return skymm::testing::run_mpi_tests(argc, argv); }
