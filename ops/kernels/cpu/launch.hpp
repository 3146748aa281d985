// How a CPU kernel runs: enqueued on the current stream, its parts spread over OpenMP's threads.
#pragma once

#include <cstdint>
#include <utility>

#include "core/stream.hpp"
#include "core/tensor.hpp"

namespace skymm {

// Enqueues work on the current stream of x's device. `work` owns every tensor it touches: capture by value.
template <class F>
void launch(const Tensor& x, F work) {
  current_stream(x.device()).enqueue(std::move(work));
}

// body(i) for i in [0, n) on all threads, where there are more than one of them and `work` (elements, or operations of
// a few cycles) pays for waking them. Which thread runs which i is not fixed: a result must not depend on it.
template <class F>
void parallel_for(std::int64_t n, std::int64_t work, F&& body) {
  constexpr std::int64_t parallel_from = 1 << 15;
  if (n <= 1 || work < parallel_from) {
    for (std::int64_t i = 0; i < n; ++i) body(i);
    return;
  }
#pragma omp parallel for schedule(dynamic, 1)
  for (std::int64_t i = 0; i < n; ++i) body(i);
}

// body(begin, end) for the pieces of [0, n) of `block` elements each (the last may be shorter): the same pieces for any
// number of threads.
template <class F>
void parallel_blocks(std::int64_t n, std::int64_t block, std::int64_t work, F&& body) {
  parallel_for((n + block - 1) / block, work, [&](std::int64_t i) {
    const std::int64_t begin = i * block;
    body(begin, begin + block < n ? begin + block : n);
  });
}

}  // namespace skymm
