// Whole tensors on one rank from the slices on all, and back: how checkpoints, which know no grid, meet an Optimizer.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "parallel/zero/optimizer.hpp"

namespace skymm {

// f32, row-major. Of a tensor of which only the weights are known or wanted, m and v are empty.
struct WholeState {
  std::string name;
  Shape shape;
  std::vector<float> master, m, v;
};

enum class StateParts { master, all };

// Calls take(state) on rank 0 of optimizer.world() for every tensor that trains on any rank, in the order of names; no
// rank holds more than one of them whole. All ranks call it; `take` is used on rank 0 alone.
void gather_states(const Optimizer& optimizer, StateParts parts, const std::function<void(WholeState)>& take);

// The opposite, in the same order: give(tensor) on rank 0 yields the whole tensor, the ranks get their slices, and the
// optimizer is restored to `steps`, which is rank 0's. Without moments they start from zero. Throws Error where what is
// given has another number of elements.
void scatter_states(Optimizer& optimizer, std::int64_t steps,
                    const std::function<WholeState(const SpreadTensor&)>& give);

}  // namespace skymm
