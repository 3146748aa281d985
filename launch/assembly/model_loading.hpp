// From files to a model that is ready to compute: block by block, each packed before the next is read, so that plain
// and packed weights are never in memory beside each other as a whole; and once for all ranks of a node that hold the
// same. A ViT whose features are given is read for its hashes and not kept: Multimodal::drop_vision comes next.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "core/communicator.hpp"
#include "launch/assembly/pretrained.hpp"
#include "ops/models/multimodal.hpp"
#include "parallel/zero/frozen.hpp"

namespace skymm {

// What ranks of a node have one copy of. Private copies: no bytes, one rank.
struct SharedWeights {
  std::size_t bytes = 0;
  int ranks = 1;
};

struct LoadedModel {
  std::map<std::string, std::uint64_t> frozen;  // content_hash of each frozen weight, as it was before it was packed
  SharedWeights shared;
};

// Fills every parameter of `model` and freezes what does not train. `replicas` hold the same pieces of the model: those
// of them on one node share out the reading and packing of frozen weights, and map one read-only copy, if `share` and
// if the system lets them; else each has its own, which gives the same bits. Frozen layers of the decoder go to
// `shards` instead, where there are any: every replica reads and packs each of them, and keeps its part. Collective
// over `replicas`.
LoadedModel load_and_freeze(Multimodal& model, const WeightLoader& weights, Communicator& replicas, bool share,
                            FrozenShards* shards = nullptr);

}  // namespace skymm
