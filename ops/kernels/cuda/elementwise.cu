// Activations, SwiGLU, sums and products element by element, and rows of a table added to rows. A thread has 16 bytes.
#include "ops/kernels/checks.hpp"
#include "ops/kernels/cuda/activation.hpp"
#include "ops/kernels/cuda/backend.hpp"
#include "ops/kernels/cuda/columns.hpp"
#include "ops/kernels/cuda/rows.hpp"

namespace skymm::cuda {
namespace {

constexpr int threads = 256;

// A thread's place among the chunks of rows `width` wide.
struct Place {
  std::int64_t row;
  int column;
};
template <class T>
__device__ __forceinline__ Place place_of_thread(int width) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  const std::int64_t chunks = (width + vector_width<T> - 1) / vector_width<T>;
  return {i / chunks, static_cast<int>(i % chunks) * vector_width<T>};
}
template <class T>
unsigned place_blocks(std::int64_t rows, std::int64_t width) {
  return blocks_for(rows * blocks_for(width, vector_width<T>), threads);
}

// z = f(x, y), element by element, where row i of y is its row i % period; y may be null: then f has x twice.
template <class T, class F>
__global__ void __launch_bounds__(threads) map_kernel(F f, DeviceRows<T> x, DeviceRows<T> y, std::int64_t period,
                                                      DeviceRows<T> z, std::int64_t rows, int width, bool vectors) {
  const auto [row, column] = place_of_thread<T>(width);
  if (row >= rows) return;
  float a[vector_width<T>], b[vector_width<T>];
  load_chunk(x[row], column, width, vectors, a);
  if (y.data != nullptr) load_chunk(y[row % period], column, width, vectors, b);
#pragma unroll
  for (int i = 0; i < vector_width<T>; ++i) a[i] = f(a[i], y.data != nullptr ? b[i] : a[i]);
  store_chunk(z[row], column, width, vectors, a);
}

template <class T, class F>
void launch_map(const F& f, const DeviceRows<T>& x, const DeviceRows<T>& y, std::int64_t period, const Tensor& z) {
  if (z.numel() == 0) return;
  const DeviceRows<T> to(z);
  const std::int64_t rows = rows_of(z), width = width_of(z);
  const bool vectors = vectors_fit(x) && vectors_fit(y) && vectors_fit(to);
  launch(map_kernel<T, F>, place_blocks<T>(rows, width), threads, 0, stream_of(z), f, x, y, period, to, rows,
         static_cast<int>(width), vectors);
}

template <class F>
void map(const F& f, const Tensor& x, const Tensor& y, const Tensor& z) {
  visit_dtype_of(z, [&]<class T>(T) { launch_map<T>(f, x, y, std::max<std::int64_t>(1, rows_of(z)), z); });
}

struct Activated {
  __device__ float operator()(float x, float) const { return activate(kind, x); }
  Activation kind;
};
struct ActivatedGradient {
  __device__ float operator()(float x, float dy) const { return dy * activation_slope(kind, x); }
  Activation kind;
};
struct Gated {
  __device__ float operator()(float gate, float up) const { return gate * sigmoid(gate) * up; }
};
struct Sum {
  __device__ float operator()(float x, float y) const { return x + y; }
};
struct Scaled {
  __device__ float operator()(float x, float) const { return x * scale; }
  float scale;
};
struct ScaledProduct {
  __device__ float operator()(float x, float y) const { return x * y * scale; }
  float scale;
};

// The right half of rows [gate | up].
template <class T>
DeviceRows<T> up_of(DeviceRows<T> gate, std::int64_t width) {
  gate.data += width;
  return gate;
}

template <class T>
__global__ void __launch_bounds__(threads)
    swiglu_gradient_kernel(DeviceRows<T> gate, DeviceRows<T> up, DeviceRows<T> dy, DeviceRows<T> dgate,
                           DeviceRows<T> dup, std::int64_t rows, int width, bool vectors) {
  const auto [row, column] = place_of_thread<T>(width);
  if (row >= rows) return;
  float g[vector_width<T>], u[vector_width<T>], d[vector_width<T>];
  load_chunk(gate[row], column, width, vectors, g);
  load_chunk(up[row], column, width, vectors, u);
  load_chunk(dy[row], column, width, vectors, d);
#pragma unroll
  for (int i = 0; i < vector_width<T>; ++i) {
    const float s = sigmoid(g[i]), silu = g[i] * s;
    g[i] = d[i] * u[i] * (s + silu * sigmoid(-g[i]));
    u[i] = d[i] * silu;
  }
  store_chunk(dgate[row], column, width, vectors, g);
  store_chunk(dup[row], column, width, vectors, u);
}

template <class T>
struct RowTerm {
  __device__ float operator()(std::int64_t row, int column) const { return to_float(x[row][column]); }
  DeviceRows<T> x;
};

// table[i] += rows i, i + n, i + 2 n, ... of x, n > 1
template <class T>
__global__ void __launch_bounds__(threads)
    sum_period_kernel(DeviceRows<T> x, std::int64_t rows, std::int64_t n, int width, DeviceRows<float> table) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (i >= n * width) return;
  const int column = static_cast<int>(i % width);
  float sum = 0;
  for (std::int64_t row = i / width; row < rows; row += n) sum += to_float(x[row][column]);
  table[i / width][column] += sum;
}

}  // namespace

void CudaKernels::activation(Activation kind, const Tensor& x, Tensor y) {
  check_activation(x, y);
  map(Activated{kind}, x, {}, y);
}

void CudaKernels::activation_gradient(Activation kind, const Tensor& x, const Tensor& dy, Tensor dx) {
  check_activation_gradient(x, dy, dx);
  map(ActivatedGradient{kind}, x, dy, dx);
}

void CudaKernels::swiglu(const Tensor& gate_up, Tensor y) {
  check_swiglu(gate_up, y);
  visit_dtype_of(y, [&]<class T>(T) {
    const DeviceRows<T> gate(gate_up);
    launch_map<T>(Gated{}, gate, up_of(gate, width_of(y)), std::max<std::int64_t>(1, rows_of(y)), y);
  });
}

void CudaKernels::swiglu_gradient(const Tensor& gate_up, const Tensor& dy, Tensor dgate_up) {
  check_swiglu_gradient(gate_up, dy, dgate_up);
  if (dy.numel() == 0) return;
  visit_dtype_of(dy, [&]<class T>(T) {
    const std::int64_t rows = rows_of(dy), width = width_of(dy);
    const DeviceRows<T> gate(gate_up), from(dy), dgate(dgate_up);
    const DeviceRows<T> up = up_of(gate, width), dup = up_of(dgate, width);
    const bool vectors =
        vectors_fit(gate) && vectors_fit(up) && vectors_fit(from) && vectors_fit(dgate) && vectors_fit(dup);
    launch(swiglu_gradient_kernel<T>, place_blocks<T>(rows, width), threads, 0, stream_of(dy), gate, up, from, dgate,
           dup, rows, static_cast<int>(width), vectors);
  });
}

void CudaKernels::add(const Tensor& x, const Tensor& y, Tensor z) {
  check_add(x, y, z);
  map(Sum{}, x, y, z);
}

void CudaKernels::multiply(const Tensor& x, const Tensor& y, float scale, Tensor z) {
  check_multiply(x, y, z);
  y.defined() ? map(ScaledProduct{scale}, x, y, z) : map(Scaled{scale}, x, {}, z);
}

void CudaKernels::add_rows(const Tensor& x, const Tensor& table, Tensor y) {
  check_add_rows(x, table, y);
  visit_dtype_of(y, [&]<class T>(T) { launch_map<T>(Sum{}, x, table, rows_of(table), y); });
}

void CudaKernels::sum_rows(const Tensor& dy, Tensor dtable) {
  check_sum_rows(dy, dtable);
  if (dy.numel() == 0) return;
  visit_dtype_of(dy, [&]<class T>(T) {
    const std::int64_t rows = rows_of(dy), width = width_of(dy), n = rows_of(dtable);
    if (n == 1) {
      add_column_sums(RowTerm<T>{dy}, rows, width, dtable);
    } else {
      launch(sum_period_kernel<T>, blocks_for(n * width, threads), threads, 0, stream_of(dy), DeviceRows<T>(dy), rows,
             n, static_cast<int>(width), DeviceRows<float>(dtable));
    }
  });
}

}  // namespace skymm::cuda
