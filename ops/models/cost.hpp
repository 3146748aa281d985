// How much work and memory a training step is, block by block (cut.hpp): for the progress line, for cutting a model
// into stages of a pipeline, and for plans.
//
// Work is in floating-point operations; a multiply-add counts as two. A linear layer of N weights takes, for a token,
//
//   forward              2 N
//   input's gradient     2 N, where something before it trains
//   weights' gradient    2 N, where it trains itself
//
// so a frozen decoder under LoRA takes 4 N, and a frozen ViT 2 N. Attention's backward is twice its forward.
// Recomputation is counted apart: it takes time, but is not useful work.
#pragma once

#include <vector>

#include "ops/models/cut.hpp"

namespace skymm {

struct StepCounts {
  std::int64_t tokens = 0;     // of all sequences, visual ones too
  std::int64_t labels = 0;     // rows that the head sees
  std::int64_t images = 0;     // that run through the ViT (0 where features are cached) ...
  std::int64_t resampled = 0;  // ... and through the resampler
  double mean_length = 0;      // of a sequence, weighted by tokens: for attention
};

struct StepCost {
  double vision = 0, resampler = 0, decoder = 0, head = 0;  // useful floating-point operations
  double total() const { return vision + resampler + decoder + head; }
};

StepCost step_cost(const MultimodalConfig& config, const StepCounts& counts);

// How a device holds numbers.
struct ComputeForm {
  DType dtype = DType::bf16;  // of weights and activations
  int packed_copies = 2;      // of a frozen weight under Packing::both: 1 where products want no packed form
};
ComputeForm compute_form(DType dtype, Device& device);

// One block and one micro-batch.
struct BlockCost {
  double forward = 0, backward = 0;  // backward: of input and weights together ...
  double weight_gradient = 0;        // ... of which so much can be put off
  double recompute = 0;              // of forward, again before backward

  std::int64_t trained = 0, frozen = 0;  // parameters; a tied table counts for embedding and head
  std::int64_t tied = 0;                 // ... and so much of them is one where a rank has both

  // Bytes.
  double weights = 0;     // of all values, frozen ones in the form that computes; 16-bit or f32, without masters
  double tied_bytes = 0;  // of `weights`, what embedding and head share
  double frozen_layers = 0, largest_layer = 0;  // of `weights`, the decoder's frozen linear layers: all; of one block
  double kept = 0;                              // activations, from forward to backward
  double forward_peak = 0, backward_peak = 0;   // more than what is kept, while it runs
  double output = 0;                            // what crosses the cut behind it
};

// In the order of model_blocks. counts: of the micro-batch.
std::vector<BlockCost> block_costs(const MultimodalConfig& config, const StepCounts& counts, const ComputeForm& form);

// Takes the second use of a tied table out of a sum that has both.
void share_table(BlockCost& sum, const BlockCost& second);

// Of the blocks of a piece together: its peaks are above what all of it keeps.
BlockCost piece_cost(const std::vector<BlockCost>& blocks, BlockRange piece);

}  // namespace skymm
