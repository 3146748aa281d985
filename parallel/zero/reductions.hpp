// Sums of gradients under way between ranks. They end in the order in which they began, whatever arrives first, so that
// what is added up from them is the same to the bit, overlapped or not. The micro-batches of all ranks are then added
// one after the other, in the order in which one rank alone would have them.
#pragma once

#include <cstddef>
#include <deque>

#include "core/communicator.hpp"
#include "core/tensor.hpp"

namespace skymm {

class Reductions {
 public:
  // The most that are under way at once: each has buffers of its own.
  static constexpr std::size_t most = 4;

  // overlap false: each is awaited as soon as it has begun.
  explicit Reductions(bool overlap) : overlap_(overlap) {}

  // Call before the buffers of another are taken: ends what is complete, and awaits the oldest where there are too
  // many.
  void make_room();
  // kept: what is sent, until the end. parts: what came of each rank, one after the other, added to `sum` at the end in
  // this order; without them the sums are where they belong already.
  void push(Handle handle, Tensor kept, Tensor parts = {}, Tensor sum = {});
  void finish();  // all

 private:
  struct UnderWay {
    Handle handle;
    Tensor kept, parts, sum;
  };
  void finish_oldest();

  bool overlap_;
  std::deque<UnderWay> under_way_;
};

}  // namespace skymm
