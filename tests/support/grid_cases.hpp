// The ways in which a training run may be spread over some ranks, and a few of them that together show each pair of
// settings.
#pragma once

#include <fmt/format.h>

#include <array>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "launch/config/config.hpp"
#include "parallel/grid.hpp"

namespace skymm::testing {

struct GridCase {
  GridShape grid;
  std::string schedule;
  int zero = 0;
  int recompute = 0;  // none, attention+mlp, full, or each stage another
  bool overlap = true, data_inside = false, shard_frozen = false;

  std::string name() const {
    return fmt::format("{}x{} {} zero {} recompute {}{}{}{}", grid.data, grid.pipeline, schedule, zero,
                       fmt::join(recomputes(), ","), overlap ? "" : " blocking", data_inside ? " data-inside" : "",
                       shard_frozen ? " frozen sharded" : "");
  }
  void apply(TrainConfig& config) const {
    config.parallel.data = grid.data;
    config.parallel.pipeline = grid.pipeline;
    config.parallel.schedule = schedule;
    config.parallel.chunks = schedule == "interleaved" ? 2 : 1;
    config.parallel.order = data_inside ? "data" : "pipeline";
    config.parallel.zero = zero;
    config.parallel.overlap = overlap;
    config.parallel.shard_frozen = shard_frozen;
    config.model.recompute = recomputes();
  }
  std::vector<std::string> recomputes() const {
    static const std::vector<std::string> modes{"none", "attention+mlp", "full"};
    if (recompute < 3) return {modes[static_cast<std::size_t>(recompute)]};
    std::vector<std::string> each;
    for (int stage = 0; stage < grid.pipeline; ++stage) each.push_back(modes[static_cast<std::size_t>(stage + 1) % 3]);
    return each;
  }
  // The value of each setting, as a number.
  std::vector<int> values() const {
    static const std::vector<std::string> schedules{"gpipe", "1f1b", "interleaved", "zero-bubble"};
    const auto kind = std::find(schedules.begin(), schedules.end(), schedule) - schedules.begin();
    return {grid.pipeline,       static_cast<int>(kind), zero, recompute, overlap ? 1 : 0,
            data_inside ? 1 : 0, shard_frozen ? 1 : 0};
  }
};

// Every combination; schedules and the order of ranks only where there is a pipeline to see them, sharded frozen
// weights only where there are ranks to share them out.
inline std::vector<GridCase> all_grid_cases(int ranks, int most_stages) {
  std::vector<GridCase> cases;
  for (const GridShape& grid : grids_of(ranks, most_stages)) {
    for (const char* schedule : {"gpipe", "1f1b", "interleaved", "zero-bubble"}) {
      for (int rest = 0; rest < 128; ++rest) {
        const GridCase one{
            grid, schedule, rest % 4, rest / 4 % 4, rest / 16 % 2 == 0, rest / 32 % 2 == 1, rest / 64 % 2 == 1};
        if (grid.pipeline == 1 && (one.schedule != "1f1b" || one.data_inside || one.recompute == 3)) continue;
        if (grid.data == 1 && one.shard_frozen) continue;
        if (one.schedule == "interleaved" && 2 * grid.pipeline > most_stages) continue;
        cases.push_back(one);
      }
    }
  }
  return cases;
}

// Chosen one after the other, each the one that shows most pairs of values that none before it showed.
inline std::vector<GridCase> pairwise(const std::vector<GridCase>& cases) {
  using Pair = std::array<int, 4>;  // two settings and their values
  const auto pairs_of = [](const GridCase& one) {
    const std::vector<int> values = one.values();
    std::vector<Pair> pairs;
    for (std::size_t i = 0; i < values.size(); ++i) {
      for (std::size_t j = i + 1; j < values.size(); ++j) {
        pairs.push_back({static_cast<int>(i), values[i], static_cast<int>(j), values[j]});
      }
    }
    return pairs;
  };
  std::set<Pair> shown;
  std::vector<GridCase> chosen;
  for (;;) {
    const GridCase* best = nullptr;
    std::ptrdiff_t most = 0;
    for (const GridCase& one : cases) {
      const std::vector<Pair> pairs = pairs_of(one);
      const auto fresh = std::count_if(pairs.begin(), pairs.end(), [&](const Pair& p) { return !shown.contains(p); });
      if (fresh > most) most = fresh, best = &one;
    }
    if (best == nullptr) return chosen;
    for (const Pair& pair : pairs_of(*best)) shown.insert(pair);
    chosen.push_back(*best);
  }
}

}  // namespace skymm::testing
