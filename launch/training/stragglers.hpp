// Ranks that hold the others up.
#pragma once

#include <string>
#include <vector>

#include "parallel/grid.hpp"

namespace skymm {

struct Straggler {
  int rank = 0;
  double seconds = 0, others = 0;  // of a step that it worked; the median of the other ranks of its stage
};
// Those that worked longer than the others of their stage by more than a fifth, the worst first. seconds, stages: by
// rank. A stage of a single rank has nothing to compare it with.
std::vector<Straggler> find_stragglers(const std::vector<double>& seconds, const std::vector<int>& stages);

// Adds up what this rank works in a step, which is what it does not wait for others, and now and then says who is slow.
class StragglerWatch {
 public:
  explicit StragglerWatch(const Grid& grid) : grid_(grid) {}

  void add(double seconds);
  // Logs the stragglers since the last call, on rank 0. Collective over the world.
  void report();

 private:
  const Grid& grid_;
  double seconds_ = 0;
  int steps_ = 0;
};

}  // namespace skymm
