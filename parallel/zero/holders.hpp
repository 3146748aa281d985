// Which rank holds which slice of the tensors that are spread over ranks: shards of data-parallel ranks, pieces of the
// model on the stages of a pipeline. The same list on every rank.
#pragma once

#include <string>
#include <vector>

#include "core/communicator.hpp"
#include "core/slice.hpp"

namespace skymm {

struct Holder {
  int rank = 0;
  Slice slice;
  bool speaks = true;  // no other speaker holds any of these elements: counts in norms, gives them to checkpoints
};

struct SpreadTensor {
  std::string name;
  Shape shape;
  std::vector<Holder> holders;  // in the order of elements, then of ranks
};

// In the order of names. Collective. Throws Error where ranks disagree on a tensor's shape, or nobody holds some of its
// elements.
std::vector<SpreadTensor> spread_tensors(const std::vector<Slice>& mine, Communicator& world);

}  // namespace skymm
