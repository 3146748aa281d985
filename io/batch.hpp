// What one forward and backward pass works on: samples one after the other, without padding, in host memory.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "io/prompt.hpp"

namespace skymm {

struct BatchCounts {
  std::int64_t samples = 0, tokens = 0, label_tokens = 0, images = 0;
  std::array<std::int64_t, skip_count> skipped{};  // holes, by Skip
  std::int64_t turns_cut = 0, answers_cut = 0;     // by the length limit
  std::int64_t turns_dropped = 0;                  // by the share of negatives
  std::array<std::int64_t, 3> languages{};         // samples of each Language
  std::array<std::int64_t, 3> polarities{};        // answers of each Polarity in them

  std::int64_t bad() const;  // holes that are the data's fault: all but Skip::filtered
  BatchCounts& operator+=(const BatchCounts& other);
};

// T tokens of S sequences, L of them with a label, V visual slots. May be empty (T = 0).
struct MicroBatch {
  std::vector<std::int32_t> tokens;            // [T]; 0 at visual slots
  std::vector<std::int32_t> positions;         // [T] within the sequence, for rotary embedding
  std::vector<std::int32_t> sequence_offsets;  // [S + 1], from 0
  std::int32_t max_length = 0;                 // of a sequence
  std::vector<std::int32_t> labels;            // [T] the token to predict, -1: none
  std::vector<std::int32_t> label_rows;        // [L] the rows that have one, ascending
  std::vector<std::int32_t> label_ids;         // [L]
  std::vector<std::int32_t> visual_rows;       // [V] where visual tokens go, picture by picture
  std::vector<float> pixels;                   // [images, 3, H, W]
  std::vector<std::int32_t> sample_positions;  // [S] in the global batch, for random numbers
  std::vector<std::int32_t> row_ids;           // [T, 2] (position in the global batch, token in the sample)
  std::vector<std::string> ids;                // [S] of the samples
  std::vector<std::string> holes;              // ids of the samples that are left out
  BatchCounts counts;
};

// All that this rank does in one step.
struct MicroBatches {
  std::int64_t step = 0;
  std::vector<MicroBatch> micro_batches;  // as many on every rank and at every step
  BatchCounts counts;                     // their sum
};

}  // namespace skymm
