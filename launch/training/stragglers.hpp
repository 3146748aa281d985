// Ranks that hold the others up.
#pragma once

#include <functional>
#include <set>
#include <utility>
#include <vector>

#include "ops/models/cost.hpp"
#include "parallel/grid.hpp"

namespace skymm {

struct Straggler {
  int rank = 0;
  double seconds = 0, others = 0;  // of a step that it worked; what the other ranks let expect
};
// Those that worked longer than the others of their stage by more than a fifth, the worst first. seconds, stages: by
// rank; others: their median. A stage of a single rank has nothing to compare it with.
std::vector<Straggler> find_stragglers(const std::vector<double>& seconds, const std::vector<int>& stages);
// Of a pipeline's stages, a rank each: those that worked longer than their share of the work and the speed of the
// others (the median) let expect, by more than a half, since work is no exact measure of time. The worst first.
std::vector<Straggler> find_slow_stages(const std::vector<double>& seconds, const std::vector<double>& work);

// Adds up what this rank works in a step, which is what it does not wait for others, and now and then says who is slow.
class StragglerWatch {
 public:
  using WorkOfStages = std::function<std::vector<double>(const StepCounts&)>;

  StragglerWatch(const Grid& grid, WorkOfStages work) : grid_(grid), work_(std::move(work)) {}

  void add(double seconds, const StepCounts& counts);  // counts: of the step, over all ranks
  // Logs the stragglers since the last call, on rank 0. Without data-parallel ranks it compares the stages of the
  // pipeline, and names each once, until it is none any more. Collective over the world.
  void report();

 private:
  void compare_peers(const std::vector<double>& seconds, const std::vector<int>& stages) const;
  void compare_stages(const std::vector<double>& seconds);

  const Grid& grid_;
  WorkOfStages work_;
  double seconds_ = 0;
  StepCounts counts_;
  int steps_ = 0;
  std::set<int> told_;
};

}  // namespace skymm
