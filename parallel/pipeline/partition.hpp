// Cuts the row of a model's blocks (ops/models/cut.hpp) into the pieces of a pipeline.
//
// With a frozen model blocks differ as they would not without: a frozen ViT has no backward, what lies before anything
// that trains has none either, and the rest of the frozen decoder has as much backward as forward. The costs
// (ops/models/cost.hpp) know.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "ops/models/cost.hpp"

namespace skymm {

struct PartitionShape {
  int stages = 1, chunks = 1;
  int pieces() const { return stages * chunks; }
};

// The costs of a model's blocks on each stage of a pipeline: stages may differ in what they compute again.
class StageCosts {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor): most models cost the same everywhere
  StageCosts(std::vector<BlockCost> everywhere) : lists_{std::move(everywhere)} {}
  // modes: of each stage, or one of all.
  StageCosts(MultimodalConfig config, const StepCounts& counts, const ComputeForm& form,
             const std::vector<Recompute>& modes);

  const std::vector<BlockCost>& of(int stage) const {
    return lists_.size() == 1 ? lists_.front() : lists_.at(static_cast<std::size_t>(stage));
  }
  std::size_t blocks() const { return lists_.front().size(); }

 private:
  std::vector<std::vector<BlockCost>> lists_;
};

// The pieces of one stage: s, s + stages, ... (PipelineShape::piece).
std::vector<BlockRange> pieces_of_stage(const std::vector<BlockRange>& pieces, int stages, int stage);

// A rank's memory, so that stages fit: the bytes that `pieces` take on `stage`, of `limit`.
struct MemoryLimit {
  double limit = 0;
  std::function<double(int stage, const std::vector<BlockRange>& pieces)> bytes;
};

// Cuts the row into consecutive pieces of at least one block, so that the slowest takes as little time as possible:
// forward, recomputation and backward. With one chunk a stage that is the slowest stage; with several it is what an
// interleaved schedule waits for. Exact, by dynamic programming; where several cuts are as fast, the one with the least
// sum of squares on the way. With one chunk a stage, the fastest of the cuts that fit `memory`; with more, that cut if
// it fits. Throws Error where there are more pieces than blocks, and where no cut fits: which stage of the cut that
// needs least lacks how much, and what would help.
//
// A tied table that trains (an embedding that is the head too) must be whole on one stage, which is the last: only cuts
// that have the embedding there are taken, and where there is none, that is the Error.
std::vector<BlockRange> partition(const StageCosts& costs, const PartitionShape& shape, const MemoryLimit& memory = {});

// Whether partition() finds a cut where memory does not count.
bool can_cut(const StageCosts& costs, const PartitionShape& shape);
// Throws Error where these pieces tear a tied table apart that trains.
void check_tied_table(const StageCosts& costs, const std::vector<BlockRange>& pieces, int stages);

// The pieces that begin at the blocks of these names (cut.hpp): the first may be left out, "resampler", "layers.12".
// Throws Error for names that are none, or out of order.
std::vector<BlockRange> cut_at(const MultimodalConfig& config, const std::vector<std::string>& first_blocks);
// The same; throws Error where they are not as many as `pieces` too.
std::vector<BlockRange> manual_cuts(const MultimodalConfig& config, const std::vector<std::string>& first_blocks,
                                    int pieces);

// For people: a line a piece with its stage, blocks, parameters, work and what crosses behind it. Work is the time that
// a micro-batch takes where a rank does so many `operations` a second, and the share of the whole where these are 0.
std::string partition_table(const MultimodalConfig& config, const StageCosts& costs,
                            const std::vector<BlockRange>& pieces, int stages, double operations = 0);

// "vision.0 - resampler"
std::string name_of(const MultimodalConfig& config, BlockRange piece);

}  // namespace skymm
