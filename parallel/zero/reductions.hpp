// Sums of gradients under way between ranks. They end in the order in which they began, whatever arrives first, so that
// what is added up from them is the same to the bit, overlapped or not.
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
  // part: this rank's part of the sum, which is added to `sum` at the end; without `sum` it stays where it is. `whole`
  // is what `part` lies in, kept until then.
  void push(Handle handle, Tensor whole, Tensor part = {}, Tensor sum = {});
  void finish();  // all

 private:
  struct UnderWay {
    Handle handle;
    Tensor whole, part, sum;
  };
  void finish_oldest();

  bool overlap_;
  std::deque<UnderWay> under_way_;
};

}  // namespace skymm
