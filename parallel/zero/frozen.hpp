// Frozen weights of layers that data-parallel ranks share out: each keeps an equal part of the bytes of every layer, in
// the form that the layer computes with, and a layer is whole only while it is used.
//
//   FrozenShards shards(grid.data(), overlap);
//   shards.add(3, tensors); ...                   // each layer once; its memory is given up
//   shards.begin({{3, 4, 5}, {5, 4, 3}});         // a pass: a forward and a backward
//   shards.use(3); ... shards.use(5);             // waits for layer 3, and begins to gather 4; ...
//   shards.end_computation();
//   shards.use(5); ...
//   shards.end_computation();
//   shards.end();
//
// Every rank says beforehand in which order a pass may use the layers, and gathers all of them in this order, whether
// its samples need them or not: so ranks meet whose micro-batches have other parts, or none. A layer that comes twice
// in a row is gathered once.
//
// Besides its shards a rank has memory for two layers: the one that computes, and the next, which arrives meanwhile.
// Bytes held and moved: parallel/zero/memory.hpp.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "core/communicator.hpp"

namespace skymm {

// For each computation of a pass, in order: the layers that it may use, in order.
using LayerUses = std::vector<std::vector<std::int64_t>>;

// The layers in the order in which a pass gathers them.
std::vector<std::int64_t> gathers_of(const LayerUses& uses);

class FrozenShards {
 public:
  // data: the ranks that hold the same layers. Gathers go over a communicator of their own, since when sums of
  // gradients begin between them depends on a rank's samples. overlap false: a layer is gathered when it is used, none
  // ahead. Collective.
  FrozenShards(Communicator& data, bool overlap);

  // tensors: what the layer computes with, the same on every rank, each the whole of its storage. Keeps this rank's
  // part of them, and drops their memory; they go on viewing it.
  void add(std::int64_t layer, const std::vector<Tensor>& tensors);
  bool holds(std::int64_t layer) const { return layers_.contains(layer); }

  // Of layers that are held; the same on every rank.
  void begin(const LayerUses& uses);
  // Until the next use the layer's memory is there, and no other's. Layers in front of it are passed over. Throws Error
  // where the computation does not have it, or has passed it.
  void use(std::int64_t layer);
  void end_computation();  // passes over what is left of it
  void end();              // of the pass

  std::int64_t bytes() const;          // of all layers, whole
  std::int64_t largest_layer() const;  // bytes
  int ranks() const { return data_->size(); }
  CommunicationCounts counts() const { return data_->counts(); }

 private:
  // A layer's tensors of one type, one after the other, filled up to a multiple of the ranks.
  struct Part {
    std::vector<Tensor> tensors;
    Tensor shard;
  };
  using Layer = std::vector<Part>;
  struct Gather {
    std::vector<Tensor> wholes;  // of each part; empty where there is none
    std::vector<Handle> handles;
  };

  static std::int64_t bytes_of(const Layer& layer);
  const Layer& layer_at(std::size_t place) const { return layers_.at(order_[place]); }
  bool repeats(std::size_t place) const { return place > 0 && order_[place] == order_[place - 1]; }
  void begin_gather(std::size_t place);
  void advance();
  void unpack();
  void release();

  std::unique_ptr<Communicator> data_;
  bool overlap_;
  std::map<std::int64_t, Layer> layers_;

  std::vector<std::int64_t> order_;  // of the pass
  std::vector<std::size_t> ends_;    // in it, of each computation
  std::size_t computation_ = 0;
  std::size_t reached_ = 0;   // places of the order; the last of them is the present layer
  Gather present_, next_;     // present: until it is unpacked
  bool is_unpacked_ = false;  // the present layer's memory is there
};

}  // namespace skymm
