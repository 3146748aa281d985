// What the CPU's attention kernels are told: one task at a time.
#pragma once

#include <cstdint>

#include "ops/kernels/attention_problem.hpp"

namespace skymm {

// The queries [query_begin, query_end) of one sequence against all its keys, for the heads that share key head
// `kv_head`.
struct AttentionTask {
  std::int64_t query_begin = 0, query_end = 0;         // tokens of q
  std::int64_t sequence_query_begin = 0, queries = 0;  // the whole sequence's
  std::int64_t key_begin = 0, keys = 0;
  std::int64_t kv_head = 0;
};

// out and logsumexp of the task.
void attention_forward_task(const AttentionProblem& problem, const AttentionTask& task);
// dq of the task, and its part of dk and dv: f32 [keys, padded_width], overwritten.
void attention_backward_task(const AttentionProblem& problem, const AttentionTask& task, float* dk, float* dv);

// A row is a query and one of the heads that share a key head; a block of rows meets the keys at once. At most so many
// rows, but at least one query.
inline constexpr std::int64_t attention_block_rows = 96;

// [0, n) in pieces of nearly one size, none of more than `most`: how large they are (the last may be smaller).
inline std::int64_t even_pieces(std::int64_t n, std::int64_t most) {
  const std::int64_t pieces = (n + most - 1) / most;
  return pieces <= 1 ? (n > 0 ? n : 1) : (n + pieces - 1) / pieces;
}

// Rows of dk and dv parts are this wide.
inline std::int64_t padded_width(std::int64_t width) { return (width + 15) / 16 * 16; }

}  // namespace skymm
