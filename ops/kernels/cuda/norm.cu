// Layer norm, RMS norm and L2 normalisation. A row is read again from the first-level cache for each pass.
#include "ops/kernels/checks.hpp"
#include "ops/kernels/cuda/backend.hpp"
#include "ops/kernels/cuda/columns.hpp"
#include "ops/kernels/cuda/rows.hpp"

namespace skymm::cuda {
namespace {

// The tensors of one call, rows of x and their companions; those that a kernel does not use are null.
template <class T>
struct Norm {
  DeviceRows<T> x, y, dy, residual;
  const T *weight, *bias;
  float *mean, *inv;
  std::int64_t rows;
  int width;
  float eps;
  bool vectors, accumulate;
};

template <class T>
Norm<T> norm_of(const Tensor& x, const Tensor& y, const Tensor& dy, const Tensor& residual, const Tensor& weight,
                const Tensor& bias, const Tensor& mean, const Tensor& inv) {
  Norm<T> norm{.x = x,
               .y = y,
               .dy = dy,
               .residual = residual,
               .weight = pointer<T>(weight),
               .bias = pointer<T>(bias),
               .mean = pointer<float>(mean),
               .inv = pointer<float>(inv),
               .rows = rows_of(x),
               .width = static_cast<int>(width_of(x)),
               .eps = 0,
               .vectors = false,
               .accumulate = false};
  norm.vectors = vectors_fit(norm.x) && vectors_fit(norm.y) && vectors_fit(norm.dy) && vectors_fit(norm.residual) &&
                 is_aligned(norm.weight) && is_aligned(norm.bias);
  return norm;
}

// kernel<threads a row>(norm), where there are rows.
template <class T, class Kernels>
void launch_rows(const Norm<T>& norm, const Tensor& x, Kernels kernels) {
  if (norm.rows == 0) return;
  visit_row_threads(norm.width, [&](auto threads) {
    launch(kernels(threads), row_blocks<threads>(norm.rows), row_block, 0, stream_of(x), norm);
  });
}

template <class T, int threads>
__global__ void __launch_bounds__(row_block) layer_norm_kernel(Norm<T> n) {
  constexpr int step = vector_width<T>;
  const std::int64_t row = row_of_thread<threads>();
  if (row >= n.rows) return;  // a whole warp, and then there are no barriers
  const T* x = n.x[row];
  float v[step], w[step] = {}, b[step] = {};
  const float mean = sum_chunks<T, threads>(n.width,
                                            [&](int column) {
                                              load_chunk(x, column, n.width, n.vectors, v);
                                              float sum = 0;
                                              for (int i = 0; i < step; ++i) sum += v[i];
                                              return sum;
                                            }) /
                     static_cast<float>(n.width);
  const float square = sum_chunks<T, threads>(n.width, [&](int column) {
    load_chunk(x, column, n.width, n.vectors, v);
    float sum = 0;
    for (int i = 0; i < step; ++i) {
      if (column + i < n.width) sum += (v[i] - mean) * (v[i] - mean);
    }
    return sum;
  });
  const float inv = rsqrtf(square / static_cast<float>(n.width) + n.eps);
  if (index_in_row<threads>() == 0) n.mean[row] = mean, n.inv[row] = inv;
  each_chunk<T, threads>(n.width, [&](int column) {
    load_chunk(x, column, n.width, n.vectors, v);
    if (n.weight != nullptr) load_chunk(n.weight, column, n.width, n.vectors, w);
    if (n.bias != nullptr) load_chunk(n.bias, column, n.width, n.vectors, b);
    for (int i = 0; i < step; ++i) {
      v[i] = (v[i] - mean) * inv;
      if (n.weight != nullptr) v[i] *= w[i];
      if (n.bias != nullptr) v[i] += b[i];
    }
    store_chunk(n.y[row], column, n.width, n.vectors, v);
  });
}

// Where there is a residual, x is the sum rounded to its dtype, as the next reader of x sees it.
template <class T, int threads>
__global__ void __launch_bounds__(row_block) rms_norm_kernel(Norm<T> n) {
  constexpr int step = vector_width<T>;
  const std::int64_t row = row_of_thread<threads>();
  if (row >= n.rows) return;
  T* x = n.x[row];
  float v[step], w[step] = {};
  const float square = sum_chunks<T, threads>(n.width, [&](int column) {
    load_chunk(x, column, n.width, n.vectors, v);
    if (n.residual.data != nullptr) {
      load_chunk(n.residual[row], column, n.width, n.vectors, w);
      for (int i = 0; i < step; ++i) v[i] = to_float(from_float<T>(v[i] + w[i]));
      store_chunk(x, column, n.width, n.vectors, v);
    }
    float sum = 0;
    for (int i = 0; i < step; ++i) sum += v[i] * v[i];
    return sum;
  });
  const float inv = rsqrtf(square / static_cast<float>(n.width) + n.eps);
  if (index_in_row<threads>() == 0) n.inv[row] = inv;
  each_chunk<T, threads>(n.width, [&](int column) {  // the same chunks as above: a thread reads what it wrote
    load_chunk(x, column, n.width, n.vectors, v);
    load_chunk(n.weight, column, n.width, n.vectors, w);
    for (int i = 0; i < step; ++i) v[i] = v[i] * inv * w[i];
    store_chunk(n.y[row], column, n.width, n.vectors, v);
  });
}

// With n = (x - mean) inv and g = dy weight: dx (= y here) = inv (g - average(g) - n average(g n)). RMS norm has no
// mean and no average(g).
template <class T, int threads, bool centered>
__global__ void __launch_bounds__(row_block) norm_input_gradient_kernel(Norm<T> n) {
  constexpr int step = vector_width<T>;
  const std::int64_t row = row_of_thread<threads>();
  if (row >= n.rows) return;
  const float mean = centered ? n.mean[row] : 0.0F, inv = n.inv[row];
  float x[step], g[step], w[step] = {};
  const auto load = [&](int column) {  // x = n, g
    load_chunk(n.x[row], column, n.width, n.vectors, x);
    load_chunk(n.dy[row], column, n.width, n.vectors, g);
    if (n.weight != nullptr) load_chunk(n.weight, column, n.width, n.vectors, w);
    for (int i = 0; i < step; ++i) {
      x[i] = (x[i] - mean) * inv;
      if (n.weight != nullptr) g[i] *= w[i];
    }
  };
  float sum = 0, along = 0;
  each_chunk<T, threads>(n.width, [&](int column) {
    load(column);
    for (int i = 0; i < step; ++i) sum += g[i], along += g[i] * x[i];
  });
  sum = centered ? row_sum<threads>(sum) / static_cast<float>(n.width) : 0.0F;
  along = row_sum<threads>(along) / static_cast<float>(n.width);
  each_chunk<T, threads>(n.width, [&](int column) {
    load(column);
    for (int i = 0; i < step; ++i) g[i] = (g[i] - sum - x[i] * along) * inv;
    if (n.accumulate) {
      load_chunk(n.y[row], column, n.width, n.vectors, w);
      for (int i = 0; i < step; ++i) g[i] += w[i];
    }
    store_chunk(n.y[row], column, n.width, n.vectors, g);
  });
}

template <class T, int threads>
__global__ void __launch_bounds__(row_block) l2_normalize_kernel(Norm<T> n) {
  constexpr int step = vector_width<T>;
  const std::int64_t row = row_of_thread<threads>();
  if (row >= n.rows) return;
  float v[step];
  const float square = sum_chunks<T, threads>(n.width, [&](int column) {
    load_chunk(n.x[row], column, n.width, n.vectors, v);
    float sum = 0;
    for (int i = 0; i < step; ++i) sum += v[i] * v[i];
    return sum;
  });
  const float inv = 1 / fmaxf(sqrtf(square), n.eps);
  if (index_in_row<threads>() == 0) n.inv[row] = inv;
  each_chunk<T, threads>(n.width, [&](int column) {
    load_chunk(n.x[row], column, n.width, n.vectors, v);
    for (int i = 0; i < step; ++i) v[i] *= inv;
    store_chunk(n.y[row], column, n.width, n.vectors, v);
  });
}

// dx (= y here) = inv (dy - y sum(y dy)), with y (= x here) the normalised row; inv dy where the norm was below eps,
// seen from |y| < 1.
template <class T, int threads>
__global__ void __launch_bounds__(row_block) l2_normalize_gradient_kernel(Norm<T> n) {
  constexpr int step = vector_width<T>;
  constexpr float surely_below_one = 0.98F;  // |y|^2 is 1 within bf16's rounding otherwise
  const std::int64_t row = row_of_thread<threads>();
  if (row >= n.rows) return;
  const float inv = n.inv[row];
  float y[step], dy[step];
  const auto load = [&](int column) {
    load_chunk(n.x[row], column, n.width, n.vectors, y);
    load_chunk(n.dy[row], column, n.width, n.vectors, dy);
  };
  float square = 0, along = 0;
  each_chunk<T, threads>(n.width, [&](int column) {
    load(column);
    for (int i = 0; i < step; ++i) square += y[i] * y[i], along += y[i] * dy[i];
  });
  square = row_sum<threads>(square);
  along = row_sum<threads>(along);
  if (square < surely_below_one) along = 0;
  each_chunk<T, threads>(n.width, [&](int column) {
    load(column);
    for (int i = 0; i < step; ++i) dy[i] = (dy[i] - y[i] * along) * inv;
    store_chunk(n.y[row], column, n.width, n.vectors, dy);
  });
}

// dy (x - mean) inv; dy where there is no x
template <class T>
struct WeightTerm {
  __device__ float operator()(std::int64_t row, int column) const {
    const float g = to_float(dy[row][column]);
    if (x.data == nullptr) return g;
    return g * (to_float(x[row][column]) - (mean != nullptr ? mean[row] : 0.0F)) * inv[row];
  }

  DeviceRows<T> dy, x;
  const float *mean, *inv;
};

void weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& mean, const Tensor& inv, const Tensor& to) {
  if (!to.defined()) return;
  visit_dtype_of(dy, [&]<class T>(T) {
    const WeightTerm<T> term{dy, x, pointer<float>(mean), pointer<float>(inv)};
    add_column_sums(term, rows_of(dy), width_of(dy), to);
  });
}

}  // namespace

void CudaKernels::layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, float eps, Tensor y,
                             Tensor mean, Tensor inv_std) {
  check_layer_norm(x, weight, bias, y, mean, inv_std);
  visit_dtype_of(x, [&]<class T>(T) {
    Norm<T> norm = norm_of<T>(x, y, {}, {}, weight, bias, mean, inv_std);
    norm.eps = eps;
    launch_rows(norm, x, [](auto threads) { return layer_norm_kernel<T, threads>; });
  });
}

void CudaKernels::layer_norm_input_gradient(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& mean,
                                            const Tensor& inv_std, Tensor dx, bool accumulate) {
  check_layer_norm_input_gradient(dy, x, weight, mean, inv_std, dx);
  visit_dtype_of(x, [&]<class T>(T) {
    Norm<T> norm = norm_of<T>(x, dx, dy, {}, weight, {}, mean, inv_std);
    norm.accumulate = accumulate;
    launch_rows(norm, x, [](auto threads) { return norm_input_gradient_kernel<T, threads, true>; });
  });
}

void CudaKernels::layer_norm_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& mean,
                                             const Tensor& inv_std, Tensor dweight, Tensor dbias) {
  check_layer_norm_weight_gradient(dy, x, mean, inv_std, dweight, dbias);
  weight_gradient(dy, x, mean, inv_std, dweight);
  weight_gradient(dy, {}, {}, {}, dbias);
}

void CudaKernels::rms_norm(Tensor x, const Tensor& residual, const Tensor& weight, float eps, Tensor y,
                           Tensor inv_rms) {
  check_rms_norm(x, residual, weight, y, inv_rms);
  visit_dtype_of(x, [&]<class T>(T) {
    Norm<T> norm = norm_of<T>(x, y, {}, residual, weight, {}, {}, inv_rms);
    norm.eps = eps;
    launch_rows(norm, x, [](auto threads) { return rms_norm_kernel<T, threads>; });
  });
}

void CudaKernels::rms_norm_input_gradient(const Tensor& dy, const Tensor& x, const Tensor& weight,
                                          const Tensor& inv_rms, Tensor dx, bool accumulate) {
  check_rms_norm_input_gradient(dy, x, weight, inv_rms, dx);
  visit_dtype_of(x, [&]<class T>(T) {
    Norm<T> norm = norm_of<T>(x, dx, dy, {}, weight, {}, {}, inv_rms);
    norm.accumulate = accumulate;
    launch_rows(norm, x, [](auto threads) { return norm_input_gradient_kernel<T, threads, false>; });
  });
}

void CudaKernels::rms_norm_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& inv_rms, Tensor dweight) {
  check_rms_norm_weight_gradient(dy, x, inv_rms, dweight);
  weight_gradient(dy, x, {}, inv_rms, dweight);
}

void CudaKernels::l2_normalize(const Tensor& x, float eps, Tensor y, Tensor inv_norm) {
  check_l2_normalize(x, y, inv_norm);
  visit_dtype_of(x, [&]<class T>(T) {
    Norm<T> norm = norm_of<T>(x, y, {}, {}, {}, {}, {}, inv_norm);
    norm.eps = eps;
    launch_rows(norm, x, [](auto threads) { return l2_normalize_kernel<T, threads>; });
  });
}

void CudaKernels::l2_normalize_gradient(const Tensor& dy, const Tensor& y, const Tensor& inv_norm, Tensor dx) {
  check_l2_normalize_gradient(dy, y, inv_norm, dx);
  visit_dtype_of(y, [&]<class T>(T) {
    const Norm<T> norm = norm_of<T>(y, dx, dy, {}, {}, {}, {}, inv_norm);
    launch_rows(norm, y, [](auto threads) { return l2_normalize_gradient_kernel<T, threads>; });
  });
}

}  // namespace skymm::cuda
