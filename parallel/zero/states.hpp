// Whole tensors on one rank from the slices on all: what a run has learnt, for other tools.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "parallel/zero/optimizer.hpp"

namespace skymm {

// f32, row-major. Where only the weights are wanted, m and v are empty.
struct WholeState {
  std::string name;
  Shape shape;
  std::vector<float> master, m, v;
};

enum class StateParts { master, all };

// Calls take(state) on rank 0 of optimizer.world() for every tensor that trains on any rank, in the order of names; no
// rank holds more than one of them whole. All ranks call it; `take` is used on rank 0 alone.
void gather_states(const Optimizer& optimizer, StateParts parts, const std::function<void(WholeState)>& take);

}  // namespace skymm
