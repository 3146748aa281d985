// Attention in tiles that stay in cache (Dao et al. 2022, FlashAttention): a block of rows, which are the (query, head)
// pairs that share a key head, meets the keys tile by tile; scores live only in the tile.
#include "ops/kernels/cpu/attention_tile.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/kernels/cpu/attention_tile.cpp"
// clang-format off: the order matters
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/kernels/cpu/tile-inl.h"
// clang-format on

#ifndef SKYMM_ATTENTION_TILE_ONCE
#define SKYMM_ATTENTION_TILE_ONCE
namespace skymm {

constexpr std::int64_t most_keys_of_tile = 128;

// Keys of a tile where `visible` are seen: tiles of nearly one size, in whole vectors of any instruction set.
inline std::int64_t keys_of_tile(std::int64_t visible) {
  return (even_pieces(visible, most_keys_of_tile) + 15) / 16 * 16;
}

// Scratch of a thread, kept from task to task: parts of one block, each aligned to 64 bytes.
class TileMemory {
 public:
  // Starts over with room for `floats`.
  void reset(std::int64_t floats) {
    if (static_cast<std::int64_t>(memory_.size()) < floats + 16) memory_.resize(floats + 16);
    const auto address = reinterpret_cast<std::uintptr_t>(memory_.data());
    next_ = memory_.data() + (64 - address % 64) % 64 / sizeof(float);
  }
  float* take(std::int64_t floats) {
    float* part = next_;
    next_ += (floats + 15) / 16 * 16;
    return part;
  }

 private:
  std::vector<float> memory_;
  float* next_ = nullptr;
};

inline TileMemory& tile_memory() {
  thread_local TileMemory memory;
  return memory;
}

// The rows of a task, block by block: row r is query first + r / group, head r % group.
struct RowBlock {
  std::int64_t first = 0;  // query, a token
  std::int64_t rows = 0;
  std::int64_t visible = 0;  // keys that the last row sees
};

inline std::int64_t visible_keys(const AttentionProblem& p, const AttentionTask& t, std::int64_t query) {
  if (!p.causal) return t.keys;
  return std::clamp<std::int64_t>(query - t.sequence_query_begin + t.keys - t.queries + 1, 0, t.keys);
}

template <class F>
void each_row_block(const AttentionProblem& p, const AttentionTask& t, F f) {
  const std::int64_t most = std::max<std::int64_t>(1, attention_block_rows / p.group);
  const std::int64_t queries = even_pieces(t.query_end - t.query_begin, most);
  for (std::int64_t first = t.query_begin; first < t.query_end; first += queries) {
    const std::int64_t last = std::min(t.query_end, first + queries);
    f(RowBlock{first, (last - first) * p.group, visible_keys(p, t, last - 1)});
  }
}

template <class T>
T* row_of(const Heads& x, std::int64_t token, std::int64_t head) {
  return static_cast<T*>(x.data) + token * x.token_step + head * x.head_step;
}

}  // namespace skymm
#endif

HWY_BEFORE_NAMESPACE();
namespace skymm {
namespace HWY_NAMESPACE {

inline std::int64_t padded(std::int64_t n) { return (n + lanes() - 1) / lanes() * lanes(); }

// The rows of q (or dout, or out) of a block as a tile [rows, wide].
template <class T>
void load_block(const AttentionProblem& p, const AttentionTask& t, const RowBlock& block, const Heads& x, float scale,
                float* to) {
  const auto row = [&](std::int64_t r) {
    return row_of<const T>(x, block.first + r / p.group, t.kv_head * p.group + r % p.group);
  };
  load_rows<T>(block.rows, p.width, padded(p.width), scale, row, to);
}

// Keys or values [begin, begin + n) of the task as a tile [n, wide].
template <class T>
void load_keys(const AttentionProblem& p, const AttentionTask& t, const Heads& x, std::int64_t begin, std::int64_t n,
               float* to) {
  const auto row = [&](std::int64_t r) { return row_of<const T>(x, t.key_begin + begin + r, t.kv_head); };
  load_rows<T>(n, p.width, padded(p.width), 1.0F, row, to);
}

// Scores of the tile -> exp(score - largest so far), with the rows' sums and the output's rows brought up to date.
HWY_INLINE void soften(float* score, std::int64_t n, std::int64_t visible, float* largest, float* total, float* output,
                       std::int64_t wide) {
  const F32 d;
  constexpr float none = -std::numeric_limits<float>::infinity();
  visible = std::clamp<std::int64_t>(visible, 0, n);
  const std::int64_t end = padded(visible);
  std::fill(score + visible, score + end, none);
  std::fill(score + end, score + padded(n), 0.0F);
  Vec top = hn::Set(d, none);
  for (std::int64_t i = 0; i < end; i += lanes()) top = hn::Max(top, hn::LoadU(d, score + i));
  const float above = std::max(*largest, hn::GetLane(hn::MaxOfLanes(d, top)));
  const float shift = above == none ? 0.0F : above;  // no key seen yet
  Vec sum = hn::Zero(d);
  for (std::int64_t i = 0; i < end; i += lanes()) {
    const Vec e = exp(hn::Sub(hn::LoadU(d, score + i), hn::Set(d, shift)));
    hn::StoreU(e, d, score + i);
    sum = hn::Add(sum, e);
  }
  const float tile_total = hn::GetLane(hn::SumOfLanes(d, sum));
  if (above != *largest) {
    const Vec shrink = exp(hn::Set(d, *largest - shift));
    for (std::int64_t i = 0; i < wide; i += lanes()) {
      hn::StoreU(hn::Mul(shrink, hn::LoadU(d, output + i)), d, output + i);
    }
    *total *= hn::GetLane(shrink);
    *largest = above;
  }
  *total += tile_total;
}

// For a few rows of queries, as generation has them, keys and values are read where they are: tiles of them would take
// longer to make than to use. Rows of q, score and output lie as in forward_block.
constexpr std::int64_t most_direct_rows = 8;

template <int Rows, class T>
HWY_INLINE void direct_scores(const T* key, std::int64_t key_step, std::int64_t keys, const float* q, std::int64_t wide,
                              float* score, std::int64_t score_step) {
  const F32 d;
  for (std::int64_t j = 0; j < keys; ++j, key += key_step) {
    Vec sums[Rows];
    for (Vec& sum : sums) sum = hn::Zero(d);
    for (std::int64_t i = 0; i < wide; i += lanes()) {
      const Vec k = load(key + i);
      for (int r = 0; r < Rows; ++r) sums[r] = hn::MulAdd(hn::LoadU(d, q + r * wide + i), k, sums[r]);
    }
    for (int r = 0; r < Rows; ++r) score[r * score_step + j] = hn::GetLane(hn::SumOfLanes(d, sums[r]));
  }
}

template <int Rows, int Vectors, class T>
HWY_INLINE void add_direct(const float* score, std::int64_t score_step, const T* value, std::int64_t value_step,
                           std::int64_t keys, float* output, std::int64_t wide) {
  const F32 d;
  Vec sums[Rows][Vectors];
  for (int r = 0; r < Rows; ++r) {
    for (int i = 0; i < Vectors; ++i) sums[r][i] = hn::LoadU(d, output + r * wide + i * lanes());
  }
  for (std::int64_t j = 0; j < keys; ++j, value += value_step) {
    Vec v[Vectors];
    for (int i = 0; i < Vectors; ++i) v[i] = load(value + i * lanes());
    for (int r = 0; r < Rows; ++r) {
      const Vec weight = hn::Set(d, score[r * score_step + j]);
      for (int i = 0; i < Vectors; ++i) sums[r][i] = hn::MulAdd(weight, v[i], sums[r][i]);
    }
  }
  for (int r = 0; r < Rows; ++r) {
    for (int i = 0; i < Vectors; ++i) hn::StoreU(sums[r][i], d, output + r * wide + i * lanes());
  }
}

template <int Rows, class T>
HWY_INLINE void direct_outputs(const float* score, std::int64_t score_step, const T* value, std::int64_t value_step,
                               std::int64_t keys, float* output, std::int64_t wide) {
  std::int64_t i = 0;
  for (; i + block_vectors * lanes() <= wide; i += block_vectors * lanes()) {
    add_direct<Rows, block_vectors>(score, score_step, value + i, value_step, keys, output + i, wide);
  }
  for (; i < wide; i += lanes()) add_direct<Rows, 1>(score, score_step, value + i, value_step, keys, output + i, wide);
}

// f(first row, a constant number of rows) for all rows
template <class F>
HWY_INLINE void each_rows(std::int64_t rows, const F& f) {
  std::int64_t r = 0;
  for (; r + 4 <= rows; r += 4) f(r, std::integral_constant<int, 4>());
  if (rows - r == 3) f(r, std::integral_constant<int, 3>());
  if (rows - r == 2) f(r, std::integral_constant<int, 2>());
  if (rows - r == 1) f(r, std::integral_constant<int, 1>());
}

template <class T>
void forward_block(const AttentionProblem& p, const AttentionTask& t, const RowBlock& block) {
  const std::int64_t wide = padded(p.width), rows = block.rows, keys = keys_of_tile(block.visible);
  TileMemory& memory = tile_memory();
  memory.reset(2 * rows * wide + 3 * keys * wide + rows * keys + 2 * rows + 256);
  float* const q = memory.take(rows * wide);
  float* const output = memory.take(rows * wide);
  float* const k = memory.take(keys * wide);
  float* const k_transposed = memory.take(keys * wide);
  float* const v = memory.take(keys * wide);
  float* const score = memory.take(rows * keys);
  float* const largest = memory.take(rows);
  float* const total = memory.take(rows);
  load_block<T>(p, t, block, p.q, p.scale, q);
  std::fill(output, output + rows * wide, 0.0F);
  std::fill(largest, largest + rows, -std::numeric_limits<float>::infinity());
  std::fill(total, total + rows, 0.0F);

  const bool direct = rows <= most_direct_rows && p.width == wide;
  for (std::int64_t begin = 0; begin < block.visible; begin += keys) {
    const std::int64_t n = std::min(keys, block.visible - begin);
    if (direct) {
      each_rows(rows, [&](std::int64_t r, auto count) {
        direct_scores<count()>(row_of<const T>(p.k, t.key_begin + begin, t.kv_head), p.k.token_step, n, q + r * wide,
                               wide, score + r * keys, keys);
      });
    } else {
      load_keys<T>(p, t, p.k, begin, n, k);
      load_keys<T>(p, t, p.v, begin, n, v);
      transpose(k, wide, n, p.width, k_transposed, keys);
      multiply_tile<false>({q, wide, 1}, k_transposed, keys, score, keys, rows, padded(n), p.width);
    }
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t visible = visible_keys(p, t, block.first + r / p.group) - begin;
      soften(score + r * keys, n, visible, largest + r, total + r, output + r * wide, wide);
    }
    if (direct) {
      each_rows(rows, [&](std::int64_t r, auto count) {
        direct_outputs<count()>(score + r * keys, keys, row_of<const T>(p.v, t.key_begin + begin, t.kv_head),
                                p.v.token_step, n, output + r * wide, wide);
      });
    } else {
      multiply_tile<true>({score, keys, 1}, v, wide, output, wide, rows, wide, n);
    }
  }
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t query = block.first + r / p.group, head = t.kv_head * p.group + r % p.group;
    store_row(output + r * wide, p.width, total[r] > 0 ? 1 / total[r] : 0.0F, row_of<T>(p.out, query, head));
    p.logsumexp[query * p.logsumexp_token_step + head * p.logsumexp_head_step] = largest[r] + std::log(total[r]);
  }
}

void ForwardTask(const AttentionProblem& p, const AttentionTask& t) {
  each_row_block(p, t, [&](const RowBlock& block) {
    p.q.dtype == DType::bf16 ? forward_block<BFloat16>(p, t, block) : forward_block<float>(p, t, block);
  });
}

// p = exp(score - logsumexp), 0 where the key is hidden; score <- p, dp <- p (dp - delta).
HWY_INLINE void differentiate(float* score, float* dp, std::int64_t n, std::int64_t visible, float logsumexp,
                              float delta) {
  const F32 d;
  visible = std::clamp<std::int64_t>(visible, 0, n);
  const std::int64_t end = padded(n);
  for (std::int64_t i = 0; i < padded(visible); i += lanes()) {
    const Vec weight = exp(hn::Sub(hn::LoadU(d, score + i), hn::Set(d, logsumexp)));
    hn::StoreU(weight, d, score + i);
    hn::StoreU(hn::Mul(weight, hn::Sub(hn::LoadU(d, dp + i), hn::Set(d, delta))), d, dp + i);
  }
  std::fill(score + visible, score + end, 0.0F);
  std::fill(dp + visible, dp + end, 0.0F);
}

template <class T>
void backward_block(const AttentionProblem& p, const AttentionTask& t, const RowBlock& block, float* dk, float* dv) {
  const std::int64_t wide = padded(p.width), rows = block.rows, keys = keys_of_tile(block.visible);
  const std::int64_t part = padded_width(p.width);
  TileMemory& memory = tile_memory();
  memory.reset(3 * rows * wide + 4 * keys * wide + 2 * rows * keys + 2 * rows + 256);
  float* const q = memory.take(rows * wide);
  float* const dout = memory.take(rows * wide);
  float* const dq = memory.take(rows * wide);
  float* const k = memory.take(keys * wide);
  float* const k_transposed = memory.take(keys * wide);
  float* const v = memory.take(keys * wide);
  float* const v_transposed = memory.take(keys * wide);
  float* const score = memory.take(rows * keys);
  float* const dp = memory.take(rows * keys);
  float* const logsumexp = memory.take(rows);
  float* const delta = memory.take(rows);  // sum of dout out: what the softmax's gradient subtracts

  load_block<T>(p, t, block, p.dout, 1.0F, dout);
  load_block<T>(p, t, block, p.out, 1.0F, q);
  const F32 d;
  for (std::int64_t r = 0; r < rows; ++r) {
    Vec sum = hn::Zero(d);
    for (std::int64_t i = 0; i < wide; i += lanes()) {
      sum = hn::MulAdd(hn::LoadU(d, dout + r * wide + i), hn::LoadU(d, q + r * wide + i), sum);
    }
    delta[r] = hn::GetLane(hn::SumOfLanes(d, sum));
    logsumexp[r] = p.logsumexp[(block.first + r / p.group) * p.logsumexp_token_step +
                               (t.kv_head * p.group + r % p.group) * p.logsumexp_head_step];
  }
  load_block<T>(p, t, block, p.q, p.scale, q);
  std::fill(dq, dq + rows * wide, 0.0F);

  for (std::int64_t begin = 0; begin < block.visible; begin += keys) {
    const std::int64_t n = std::min(keys, block.visible - begin);
    load_keys<T>(p, t, p.k, begin, n, k);
    load_keys<T>(p, t, p.v, begin, n, v);
    transpose(k, wide, n, p.width, k_transposed, keys);
    transpose(v, wide, n, p.width, v_transposed, keys);
    multiply_tile<false>({q, wide, 1}, k_transposed, keys, score, keys, rows, padded(n), p.width);
    multiply_tile<false>({dout, wide, 1}, v_transposed, keys, dp, keys, rows, padded(n), p.width);
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t visible = visible_keys(p, t, block.first + r / p.group) - begin;
      differentiate(score + r * keys, dp + r * keys, n, visible, logsumexp[r], delta[r]);
    }
    multiply_tile<true>({score, 1, keys}, dout, wide, dv + begin * part, part, n, wide, rows);
    multiply_tile<true>({dp, 1, keys}, q, wide, dk + begin * part, part, n, wide, rows);
    multiply_tile<true>({dp, keys, 1}, k, wide, dq, wide, rows, wide, n);
  }
  for (std::int64_t r = 0; r < rows; ++r) {
    T* to = row_of<T>(p.dq, block.first + r / p.group, t.kv_head * p.group + r % p.group);
    store_row(dq + r * wide, p.width, p.scale, to);
  }
}

void BackwardTask(const AttentionProblem& p, const AttentionTask& t, float* dk, float* dv) {
  std::fill(dk, dk + t.keys * padded_width(p.width), 0.0F);
  std::fill(dv, dv + t.keys * padded_width(p.width), 0.0F);
  each_row_block(p, t, [&](const RowBlock& block) {
    p.q.dtype == DType::bf16 ? backward_block<BFloat16>(p, t, block, dk, dv)
                             : backward_block<float>(p, t, block, dk, dv);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace skymm
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skymm {

HWY_EXPORT(ForwardTask);
HWY_EXPORT(BackwardTask);

void attention_forward_task(const AttentionProblem& problem, const AttentionTask& task) {
  HWY_DYNAMIC_DISPATCH(ForwardTask)(problem, task);
}

void attention_backward_task(const AttentionProblem& problem, const AttentionTask& task, float* dk, float* dv) {
  HWY_DYNAMIC_DISPATCH(BackwardTask)(problem, task, dk, dv);
}

}  // namespace skymm
#endif
