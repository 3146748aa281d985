// Will it fit, how fast, and on which grid? Answers before a job starts, from sizes alone.
#pragma once

#include <string>
#include <vector>

#include "parallel/grid.hpp"
#include "parallel/pipeline/partition.hpp"
#include "parallel/pipeline/schedule.hpp"

namespace skymm {

struct PlanInput {
  MultimodalConfig model;
  ComputeForm form;
  StepCounts micro_batch;  // a typical one
  int micro_batches = 1;   // of a step, over all data-parallel ranks
  int ranks = 1;
  double memory = 0;          // bytes of a rank; 0: no limit
  double operations = 1e11;   // floating-point operations a second that a rank does
  double bandwidth = 1e9;     // bytes a second from rank to rank
  bool uneven = false;        // whether ranks may have micro-batches of fewer samples than others
  int ranks_per_node = 1;     // that share frozen weights where they hold the same
  bool shard_frozen = false;  // data-parallel ranks share out the decoder's frozen layers
  bool by_nccl = false;       // ranks exchange tensors of GPUs by NCCL
  bool on_host = true;        // the model computes in host memory, where checkpoints are staged
  GridOrder order = GridOrder::pipeline_inside;
  std::vector<std::string> cuts;  // blocks where pieces begin (cut_at), for grids with as many; none: balanced
  int chunks = 2;                 // of interleaved schedules, besides 2 and 4
  // Of each stage, for grids with as many, or one of all; none: as the model's config says.
  std::vector<Recompute> recompute = {};
};

// The most bytes of a rank at once, by purpose (core/memory.hpp).
struct RankMemory {
  double weights = 0, activations = 0, gradients = 0, optimizer = 0, communication = 0, checkpoint = 0;
  double total() const { return weights + activations + gradients + optimizer + communication + checkpoint; }
};

// How a rank holds what it has; the rest is as in PlanInput.
struct RankForm {
  DType dtype = DType::bf16;  // of weights and activations
  int zero_stage = 0;
  int data = 1;     // ranks that ZeRO shards over
  int sharing = 1;  // ranks of a node that have one copy of frozen weights
  bool shard_frozen = false, by_nccl = false, on_host = true;
};

struct Plan {
  GridShape grid;
  ScheduleKind schedule = ScheduleKind::one_f_one_b;
  int chunks = 1;
  int zero_stage = 0;
  int sharing = 1;  // ranks of a node that have one copy of frozen weights
  std::vector<BlockRange> pieces;
  std::vector<RankMemory> stages;  // of a rank of each
  double step_seconds = 0;
  double bubble = 0;    // share of the step that the stage with the most work idles
  std::string problem;  // why it does not run; empty where it does

  const RankMemory& largest() const;  // of the stage that needs most
};

// Of a rank of `stage`, which holds `pieces` (chunk by chunk) of a model with these costs:
//
//   weights        values in the compute dtype, frozen ones as packed as they are, of which a copy that `sharing` ranks
//                  have in common counts once, an equal part for each; ZeRO-3 shards those that train, shard_frozen
//                  the decoder's frozen layers, of which one is whole
//   activations    what the schedule keeps alive, the outputs that wait for their gradient, and the work at hand
//   gradients      f32 of what trains
//   optimizer      f32 masters and two moments
//   communication  buckets of ZeRO, scratch memory of sums by NCCL, the frozen layer that arrives
//   checkpoint     the copy of masters and moments from which a checkpoint is written while training goes on: of data-
//                  parallel ranks each stages an equal part, in host memory
//
// ZeRO shards over `data` ranks, as parallel/zero/memory.hpp says; `schedule` has its instructions (add_zero). What
// libraries need for themselves, and the samples that the loader holds, are extra.
RankMemory rank_memory(const std::vector<BlockCost>& costs, const std::vector<BlockRange>& pieces,
                       const Schedule& schedule, int stage, const RankForm& form);

// Every grid of so many ranks with every schedule and ZeRO stage that differs there: those that fit first, the fastest
// first, and among equals the simplest. Time: the simulated schedule, and what ZeRO sends. Throws Error where `cuts`
// name no blocks, or fit no grid, and where no grid has as many stages as `recompute` names.
std::vector<Plan> plan(const PlanInput& input);
// A plan of which grid, schedule, chunks, ZeRO stage and sharing are given, with all that follows from them: the cut by
// `cuts` where these are as many, else the fastest that fits. `problem` where none does.
Plan completed(Plan plan, const PlanInput& input);
// The same grid, schedule and ZeRO stage, cut anew for stages that all recompute as `mode` says.
Plan with_recompute(const Plan& plan, PlanInput input, Recompute mode);

// A line a plan, `most` at most.
std::string plan_table(const std::vector<Plan>& plans, std::size_t most);
// A line a way to recompute: what all stages would take if they did so.
std::string recompute_table(const PlanInput& input, const Plan& plan);
// What makes a run do as planned, the cut included: options of skymm train.
std::string options_of(const PlanInput& input, const Plan& plan);
// A line a stage, MiB by purpose.
std::string memory_table(const PlanInput& input, const Plan& plan);

}  // namespace skymm
