// One chunk's trainable parameters under a stage of ZeRO: where weights, gradients and states live on this rank, and
// the collectives that move them. The data-parallel ranks call each function together, but complete_gradient(), which
// depends on their samples.
//
//   stage          0                  1                 2                              3
//   weights        whole              whole             whole                          shard; whole while gathered
//   gradients      whole              whole             shard; whole in a backward     the same
//   states         whole              shard             shard                          shard
//
// Gradients are reduced bucket by bucket. Parameters lie in the buckets in the order in which a backward pass completes
// them, the last of the model first, so that a bucket can leave while the pass goes on. Buckets always leave in the
// same order, so that ranks meet whose backward passes differ.
#pragma once

#include <deque>
#include <unordered_map>
#include <vector>

#include "parallel/zero/buckets.hpp"
#include "parallel/zero/optimizer.hpp"
#include "parallel/zero/reductions.hpp"

namespace skymm {

class ZeroChunk {
 public:
  // What this rank owns of one parameter, and updates. All flat.
  struct Owned {
    Optimizer::State state;
    Tensor gradient;       // f32; the sum over ranks after sum_gradients()
    Tensor value;          // where the masters go, rounded to the compute dtype
    std::int64_t end = 0;  // in the shard
  };

  // parameters: in the order in which the model uses them. reductions: of all chunks of the rank.
  ZeroChunk(std::vector<NamedParameter> parameters, const ZeroOptions& zero, Communicator& data,
            Reductions& reductions);
  ZeroChunk(const ZeroChunk&) = delete;
  ZeroChunk& operator=(const ZeroChunk&) = delete;

  std::vector<Owned> owned() const;

  void gather_weights();  // begins
  void wait_weights();
  void release_weights();
  void complete_gradient(const Parameter& parameter);  // begins the buckets that lacked nothing else
  void reduce_gradients(bool last);                    // begins the rest
  void sum_gradients();                                // what no reduce_gradients() of this step has begun
  void clear_gradients();
  // Brings what the ranks wrote to their Owned::value to all that hold the weights whole. Begins with the buckets of
  // which this rank's part lies before `end` in its shard, and goes on from there when called again; finish_sharing()
  // does the rest.
  void share_values(std::int64_t end);
  void finish_sharing();

 private:
  void take_whole_gradients();
  void reduce_next_bucket();
  Tensor gradients_of(const Bucket& bucket);  // of this micro-batch; takes them from the parameters
  void shard_values();
  // A bucket's values on their way from all ranks' parts.
  struct Fetch {
    const Bucket* bucket;
    Tensor whole;
    Handle handle;
  };
  Fetch begin_fetch(const Bucket& bucket, const Tensor& whole) const;
  void finish_fetch(Fetch& fetch) const;
  bool shares_values() const;
  Tensor buffer(std::int64_t elements, DType dtype) const;
  Tensor part_of(const Tensor& whole, const Bucket& bucket) const;
  Tensor shard_of(const Tensor& shard, const Bucket& bucket) const;

  std::vector<NamedParameter> parameters_;  // the last that the model uses comes first
  int stage_;
  Communicator& data_;
  Reductions& reductions_;
  FlatLayout layout_;
  std::vector<Piece> owned_;
  Tensor states_;     // f32 [3, shard]: masters, first and second moments
  Tensor gradients_;  // f32, the whole chunk (which Parameter::gradient views) or, from stage 2 on, the shard
  Tensor values_;     // stage 3: the shard, in the compute dtype
  std::vector<Tensor> weights_;  // stage 3: one view of each storage that the parameters' values lie in
  std::vector<Fetch> fetches_;   // begun by gather_weights()
  int gathered_ = 0;             // gathers less releases
  bool reduced_ = false;         // reduce_gradients() has begun what this step has to reduce (so far)
  std::unordered_map<const Parameter*, std::size_t> index_of_;  // in parameters_
  std::vector<bool> complete_;   // of each parameter: its gradient of this micro-batch (below stage 2: of this step)
  std::size_t next_bucket_ = 0;  // to leave
  std::deque<Fetch> shared_;     // the last begun by share_values()
  std::size_t next_shared_ = 0;  // bucket whose values are to be shared next
};

}  // namespace skymm
