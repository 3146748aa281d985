// Softmax, cross-entropy and the largest of a row.
#include "ops/kernels/checks.hpp"
#include "ops/kernels/cuda/backend.hpp"
#include "ops/kernels/cuda/rows.hpp"

namespace skymm::cuda {
namespace {

constexpr float lowest = -INFINITY;

template <class T>
struct Logits {
  DeviceRows<T> x, to;
  std::int64_t rows;
  int width;
  bool vectors;
};
template <class T>
Logits<T> logits_of(const Tensor& x, const Tensor& to) {
  const DeviceRows<T> from(x), target(to);
  return {from, target, rows_of(x), static_cast<int>(width_of(x)), vectors_fit(from) && vectors_fit(target)};
}

// kernels(threads a row) for the rows of x, with these arguments.
template <class Kernels, class... A>
void launch_rows(const Tensor& x, Kernels kernels, const A&... arguments) {
  if (rows_of(x) == 0) return;
  visit_row_threads(width_of(x), [&](auto threads) {
    launch(kernels(threads), row_blocks<threads>(rows_of(x)), row_block, 0, stream_of(x), arguments...);
  });
}

// The largest of a row and the sum of exp(x - largest). Where nothing is above -infinity the sum is 0, or NaN where one
// of the row is.
struct ExpSum {
  float max, sum;
};
template <class T, int threads>
__device__ __forceinline__ ExpSum exp_sum(const Logits<T>& n, std::int64_t row) {
  constexpr int step = vector_width<T>;
  float v[step], max = lowest;
  each_chunk<T, threads>(n.width, [&](int column) {
    load_chunk(n.x[row], column, n.width, n.vectors, v);
    for (int i = 0; i < step; ++i) {
      if (column + i < n.width) max = fmaxf(max, v[i]);
    }
  });
  max = row_max<threads>(max);
  const float sum = sum_chunks<T, threads>(n.width, [&](int column) {
    load_chunk(n.x[row], column, n.width, n.vectors, v);
    float part = 0;
    for (int i = 0; i < step; ++i) {
      if (column + i < n.width && v[i] != lowest) part += expf(v[i] - max);
    }
    return part;
  });
  return {max, sum};
}

template <class T, int threads>
__global__ void __launch_bounds__(row_block) softmax_kernel(Logits<T> n) {
  constexpr int step = vector_width<T>;
  const std::int64_t row = row_of_thread<threads>();
  if (row >= n.rows) return;
  const ExpSum all = exp_sum<T, threads>(n, row);
  const float inv = 1 / all.sum;
  float v[step];
  each_chunk<T, threads>(n.width, [&](int column) {
    load_chunk(n.x[row], column, n.width, n.vectors, v);
    for (int i = 0; i < step; ++i) v[i] = expf(v[i] - all.max) * inv;
    store_chunk(n.to[row], column, n.width, n.vectors, v);
  });
}

// x of `n` is y here
template <class T, int threads>
__global__ void __launch_bounds__(row_block) softmax_gradient_kernel(Logits<T> n, DeviceRows<T> dy_rows) {
  constexpr int step = vector_width<T>;
  const std::int64_t row = row_of_thread<threads>();
  if (row >= n.rows) return;
  float y[step], dy[step];
  const auto load = [&](int column) {
    load_chunk(n.x[row], column, n.width, n.vectors, y);
    load_chunk(dy_rows[row], column, n.width, n.vectors, dy);
  };
  const float along = sum_chunks<T, threads>(n.width, [&](int column) {
    load(column);
    float part = 0;
    for (int i = 0; i < step; ++i) part += y[i] * dy[i];
    return part;
  });
  each_chunk<T, threads>(n.width, [&](int column) {
    load(column);
    for (int i = 0; i < step; ++i) y[i] *= dy[i] - along;
    store_chunk(n.to[row], column, n.width, n.vectors, y);
  });
}

// A label that is no class gives NaN, since a kernel cannot throw.
template <class T, int threads>
__global__ void __launch_bounds__(row_block)
    cross_entropy_kernel(Logits<T> n, const std::int32_t* labels, float* losses, float* logsumexp) {
  const std::int64_t row = row_of_thread<threads>();
  if (row >= n.rows) return;
  const ExpSum all = exp_sum<T, threads>(n, row);
  if (index_in_row<threads>() != 0) return;
  const std::int32_t label = labels[row];
  const float total = logf(all.sum);
  logsumexp[row] = all.max + total;
  losses[row] = label < 0 ? 0.0F : label >= n.width ? NAN : (all.max - to_float(n.x[row][label])) + total;
}

template <class T, int threads>
__global__ void __launch_bounds__(row_block)
    cross_entropy_gradient_kernel(Logits<T> n, const std::int32_t* labels, const float* logsumexp, float scale) {
  constexpr int step = vector_width<T>;
  const std::int64_t row = row_of_thread<threads>();
  if (row >= n.rows) return;
  const std::int32_t label = labels[row];
  const float shift = label >= n.width ? NAN : logsumexp[row];
  float v[step];
  each_chunk<T, threads>(n.width, [&](int column) {
    if (label >= 0) load_chunk(n.x[row], column, n.width, n.vectors, v);
    for (int i = 0; i < step; ++i) {
      v[i] = label < 0 ? 0.0F : scale * (expf(v[i] - shift) - (column + i == label ? 1.0F : 0.0F));
    }
    store_chunk(n.to[row], column, n.width, n.vectors, v);
  });
}

// A candidate for the largest: NaN is above all; of equals, the first.
struct Best {
  float value;
  int column;
};
__device__ __forceinline__ Best better(Best a, Best b) {
  const bool a_nan = a.value != a.value, b_nan = b.value != b.value;
  const bool equal = (a_nan && b_nan) || a.value == b.value;
  const bool b_wins = equal ? b.column < a.column : b_nan || (!a_nan && b.value > a.value);
  return b_wins ? b : a;
}
template <class T, int threads>
__global__ void __launch_bounds__(row_block) argmax_kernel(Logits<T> n, std::int32_t* columns) {
  constexpr int step = vector_width<T>;
  const std::int64_t row = row_of_thread<threads>();
  if (row >= n.rows) return;
  Best best{lowest, n.width};
  float v[step];
  each_chunk<T, threads>(n.width, [&](int column) {
    load_chunk(n.x[row], column, n.width, n.vectors, v);
    for (int i = 0; i < step; ++i) {
      if (column + i < n.width) best = better(best, {v[i], column + i});
    }
  });
#pragma unroll
  for (int lanes = warp_size / 2; lanes > 0; lanes /= 2) {
    const float value = __shfl_xor_sync(whole_warp, best.value, lanes);
    const int column = __shfl_xor_sync(whole_warp, best.column, lanes);
    best = better(best, {value, column});
  }
  if constexpr (threads > warp_size) {
    SKYMM_SHARED_ARRAY(Best, of_warp, threads / warp_size);
    if (threadIdx.x % warp_size == 0) of_warp[threadIdx.x / warp_size] = best;
    __syncthreads();
    for (int i = 0; i < threads / warp_size; ++i) best = better(best, of_warp[i]);
  }
  if (index_in_row<threads>() == 0) columns[row] = best.column;
}

}  // namespace

void CudaKernels::softmax(const Tensor& x, Tensor y) {
  check_softmax(x, y);
  visit_dtype_of(x, [&]<class T>(T) {
    launch_rows(
        x, [](auto threads) { return softmax_kernel<T, threads>; }, logits_of<T>(x, y));
  });
}

void CudaKernels::softmax_gradient(const Tensor& y, const Tensor& dy, Tensor dx) {
  check_softmax_gradient(y, dy, dx);
  visit_dtype_of(y, [&]<class T>(T) {
    Logits<T> logits = logits_of<T>(y, dx);
    const DeviceRows<T> gradient(dy);
    logits.vectors = logits.vectors && vectors_fit(gradient);
    launch_rows(
        y, [](auto threads) { return softmax_gradient_kernel<T, threads>; }, logits, gradient);
  });
}

void CudaKernels::cross_entropy(const Tensor& logits, const Tensor& labels, Tensor losses, Tensor logsumexp) {
  check_cross_entropy(logits, labels, losses, logsumexp);
  visit_dtype_of(logits, [&]<class T>(T) {
    launch_rows(
        logits, [](auto threads) { return cross_entropy_kernel<T, threads>; }, logits_of<T>(logits, logits),
        pointer<std::int32_t>(labels), pointer<float>(losses), pointer<float>(logsumexp));
  });
}

void CudaKernels::cross_entropy_gradient(const Tensor& logits, const Tensor& labels, const Tensor& logsumexp,
                                         float scale, Tensor dlogits) {
  check_cross_entropy_gradient(logits, labels, logsumexp, dlogits);
  visit_dtype_of(logits, [&]<class T>(T) {
    launch_rows(
        logits, [](auto threads) { return cross_entropy_gradient_kernel<T, threads>; }, logits_of<T>(logits, dlogits),
        pointer<std::int32_t>(labels), pointer<float>(logsumexp), scale);
  });
}

void CudaKernels::argmax(const Tensor& x, Tensor best) {
  check_argmax(x, best);
  visit_dtype_of(x, [&]<class T>(T) {
    launch_rows(
        x, [](auto threads) { return argmax_kernel<T, threads>; }, logits_of<T>(x, x), pointer<std::int32_t>(best));
  });
}

}  // namespace skymm::cuda
