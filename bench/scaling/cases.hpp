// What a scaling measurement trains, and in which ways.
#pragma once

#include <string>
#include <vector>

#include "bench/synthetic.hpp"
#include "ops/models/cost.hpp"
#include "parallel/grid.hpp"
#include "parallel/pipeline/schedule.hpp"

namespace skymm::bench {

// The synthetic model and its samples.
struct Sizes {
  std::int64_t width = 384, layers = 16, tokens = 128, lora_rank = 16;
  DType dtype = DType::bf16;
};

enum class Cut {
  equal,     // as many layers for each piece, which are all that costs much
  middle,    // the decoder's layers alone are shared out, and the first stage has the ViT on top
  by_costs,  // parallel/pipeline/partition.hpp
};

struct Case {
  std::string name, group;  // groups: alone, strong, weak, overlap, vision
  GridShape grid;
  ScheduleKind schedule = ScheduleKind::one_f_one_b;
  int chunks = 1, zero = 0;
  bool overlap = true;
  int micro_batches = 1;  // of the global batch
  Cut cut = Cut::equal;
};

// Of a job of so many ranks; micro_batches: of the global batch of one rank alone. groups: a comma-separated list, or
// all. `alone` is always there: what the others are compared with.
std::vector<Case> cases_of(int ranks, int micro_batches, const std::string& groups);

// A frozen decoder with LoRA. In the group vision, a ViT and a resampler in front of it; in the group overlap, LoRA of
// four times the rank, so that there is much to communicate.
MultimodalConfig config_of(const Case& one, const Sizes& sizes);
BatchShape batch_shape(const MultimodalConfig& config, const Sizes& sizes);
StepCounts counts_of(const MultimodalConfig& config, const Sizes& sizes);  // of a micro-batch

std::vector<BlockRange> pieces_of(const Case& one, const MultimodalConfig& config, const StepCounts& counts,
                                  DType dtype);
Schedule schedule_of(const Case& one);

}  // namespace skymm::bench
