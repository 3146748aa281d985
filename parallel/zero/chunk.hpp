// One chunk's trainable parameters under a stage of ZeRO: where weights, gradients and states live on this rank, and
// the collectives that move them. The data-parallel ranks call each function together.
//
//   stage          0                  1                 2                              3
//   weights        whole              whole             whole                          shard; whole while gathered
//   gradients      whole              whole             shard; whole in a backward     the same
//   states         whole              shard             shard                          shard
#pragma once

#include <vector>

#include "parallel/zero/buckets.hpp"
#include "parallel/zero/optimizer.hpp"

namespace skymm {

class ZeroChunk {
 public:
  // What this rank owns of one parameter, and updates. All flat.
  struct Owned {
    Optimizer::State state;
    Tensor gradient;  // f32; the sum over ranks after sum_gradients()
    Tensor value;     // where the masters go, rounded to the compute dtype
  };

  ZeroChunk(std::vector<NamedParameter> parameters, const ZeroOptions& zero, Communicator& data);
  ZeroChunk(const ZeroChunk&) = delete;
  ZeroChunk& operator=(const ZeroChunk&) = delete;

  std::vector<Owned> owned() const;

  void gather_weights();  // begins
  void wait_weights();
  void release_weights();
  void reduce_gradients();
  void sum_gradients();  // what no reduce_gradients() of this step has summed
  void clear_gradients();
  // Brings what the ranks wrote to their Owned::value to all that hold the weights whole.
  void share_values();

 private:
  void take_whole_gradients();
  void shard_values();
  // A bucket's values on their way from all ranks' parts.
  struct Fetch {
    const Bucket* bucket;
    Tensor whole;
    Handle handle;
  };
  Fetch begin_fetch(const Bucket& bucket, const Tensor& whole) const;
  void finish_fetch(Fetch& fetch) const;
  void fetch_values() const;  // now, one bucket after the other
  Tensor buffer(std::int64_t elements, DType dtype) const;
  Tensor part_of(const Tensor& whole, const Bucket& bucket) const;
  Tensor shard_of(const Tensor& shard, const Bucket& bucket) const;

  std::vector<NamedParameter> parameters_;  // in the order of names
  int stage_;
  Communicator& data_;
  FlatLayout layout_;
  std::vector<Piece> owned_;
  Tensor states_;     // f32 [3, shard]: masters, first and second moments
  Tensor gradients_;  // f32, the whole chunk (which Parameter::gradient views) or, from stage 2 on, the shard
  Tensor values_;     // stage 3: the shard, in the compute dtype
  std::vector<Tensor> weights_;  // stage 3: one view of each storage that the parameters' values lie in
  std::vector<Fetch> fetches_;   // begun by gather_weights()
  int gathered_ = 0;             // gathers less releases
  bool reduced_ = false;         // reduce_gradients() was called in this step
};

}  // namespace skymm
