// write_tiny_training DIR: a data set, frozen weights and DIR/config.ini that `skymm train --config DIR/config.ini`
// takes: what tests train that start skymm itself.
#include "parallel/communicator.hpp"
#include "support/tiny_training.hpp"

int main(int argc, char** argv) {
  using namespace skymm;
  return run_ranks([&] {
    check(argc == 2, "usage: {} DIR", argv[0]);
    TrainConfig config = skymm::testing::tiny_training(argv[1]);
    config.run.log_level = "info";
    config.train.steps = 40;
    config.train.log_every = 1;
    config.train.checkpoint_every = 2;
    config.train.keep_checkpoints = 3;
    config.parallel.watchdog_seconds = 20;
    write_file(std::string(argv[1]) + "/config.ini", to_ini(config));
    return 0;
  });
}
