// What every CPU kernel outside of matrix products is made of: tensors as rows, and work in pieces on threads.
#pragma once

#include <omp.h>

#include <algorithm>

#include "ops/kernels/arguments.hpp"
#include "ops/kernels/checks.hpp"
#include "ops/kernels/cpu/launch.hpp"

namespace skymm {

// f(begin, end) over [0, n) in one piece a thread. `cost`: elements that an item touches; little work stays on the
// caller's thread, as waking others costs more than they save. f must not let its results depend on the pieces.
template <class F>
void parallel_pieces(std::int64_t n, std::int64_t cost, const F& f) {
  constexpr std::int64_t worth_a_thread = 1 << 14;
  const auto threads =
      static_cast<int>(std::min<std::int64_t>({omp_get_max_threads(), n, 1 + n * cost / worth_a_thread}));
  if (threads <= 1) {
    if (n > 0) f(std::int64_t{0}, n);
    return;
  }
#pragma omp parallel num_threads(threads)
  {
    const std::int64_t me = omp_get_thread_num(), all = omp_get_num_threads();
    f(n * me / all, n * (me + 1) / all);
  }
}

}  // namespace skymm
