// Sums over all elements, the search for what is not finite, and AdamW.
#include <cmath>

#include "ops/kernels/checks.hpp"
#include "ops/kernels/cuda/backend.hpp"
#include "ops/kernels/cuda/rows.hpp"

namespace skymm::cuda {
namespace {

constexpr int threads = 256;
constexpr std::int64_t sum_block = 4096;  // elements

// partial[block] = the sum of x, or of its squares, over the block's elements
template <class T, bool squared>
__global__ void __launch_bounds__(row_block) block_sums_kernel(const T* x, std::int64_t n, double* partial) {
  const std::int64_t begin = blockIdx.x * sum_block, end = min(n, begin + sum_block);
  double sum = 0;
  for (std::int64_t i = begin + threadIdx.x; i < end; i += row_block) {
    const double value = to_float(x[i]);
    sum += squared ? value * value : value;
  }
  sum = row_sum<row_block>(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// out = the sum of the blocks' sums, one after the other; the block's threads only fetch them.
__global__ void __launch_bounds__(row_block)
    sum_in_order_kernel(const double* partial, std::int64_t count, double* out) {
  SKYMM_SHARED_ARRAY(double, next, row_block);
  double sum = 0;
  for (std::int64_t begin = 0; begin < count; begin += row_block) {
    const std::int64_t mine = begin + threadIdx.x;
    next[threadIdx.x] = mine < count ? partial[mine] : 0;
    __syncthreads();
    if (threadIdx.x == 0) {
      for (int i = 0; i < row_block && begin + i < count; ++i) sum += next[i];
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) *out = sum;
}

// Blocks are of elements in row-major order: rows with gaps are copied together first.
template <bool squared>
void sum_by_blocks(const Tensor& x, const Tensor& out) {
  const Tensor dense = x.contiguous();
  const std::int64_t n = dense.numel(), blocks = (n + sum_block - 1) / sum_block;
  const PurposeScope purpose(Purpose::workspace);
  const Tensor partial = Tensor::empty({blocks}, DType::f64, x.device());
  if (blocks > 0) {
    visit_dtype_of(x, [&]<class T>(T) {
      launch(block_sums_kernel<T, squared>, static_cast<unsigned>(blocks), row_block, 0, stream_of(x),
             pointer<T>(dense), n, pointer<double>(partial));
    });
  }
  launch(sum_in_order_kernel, 1, row_block, 0, stream_of(x), pointer<double>(partial), blocks, pointer<double>(out));
}

template <class T>
__global__ void __launch_bounds__(row_block) count_non_finite_kernel(const T* x, std::int64_t n, std::int32_t* count) {
  const std::int64_t begin = blockIdx.x * sum_block, end = min(n, begin + sum_block);
  int found = 0;
  for (std::int64_t i = begin + threadIdx.x; i < end; i += row_block) {
    found += (__float_as_uint(to_float(x[i])) & 0x7f800000U) == 0x7f800000U ? 1 : 0;
  }
  found = row_sum<row_block>(found);
  if (threadIdx.x == 0 && found > 0) atomic_add(count, found);  // of integers: the order is nothing
}

struct AdamWStep {
  AdamW options;
  float correct1, correct2;
};

template <class T>
__global__ void __launch_bounds__(threads) adamw_kernel(float* master, float* m, float* v, const float* gradient,
                                                        T* value, AdamWStep step, std::int64_t n, bool vectors) {
  const std::int64_t i = (static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x) * vector_width<float>;
  if (i >= n) return;
  const AdamW& o = step.options;
  const int left = static_cast<int>(min(n - i, static_cast<std::int64_t>(vector_width<float>)));
  float w[4], first[4], second[4], g[4];
  load_chunk(master + i, 0, left, vectors, w);
  load_chunk(m + i, 0, left, vectors, first);
  load_chunk(v + i, 0, left, vectors, second);
  load_chunk(gradient + i, 0, left, vectors, g);
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    g[k] *= o.gradient_scale;
    first[k] = first[k] * o.beta1 + g[k] * (1 - o.beta1);
    second[k] = second[k] * o.beta2 + g[k] * g[k] * (1 - o.beta2);
    const float root = sqrtf(second[k] * step.correct2) + o.epsilon;
    w[k] -= (w[k] * o.weight_decay + first[k] * step.correct1 / root) * o.learning_rate;
  }
  store_chunk(master + i, 0, left, vectors, w);
  store_chunk(m + i, 0, left, vectors, first);
  store_chunk(v + i, 0, left, vectors, second);
#pragma unroll  // no indexed registers
  for (int k = 0; k < 4; ++k) {
    if (k < left && value != nullptr) value[i + k] = from_float<T>(w[k]);
  }
}

}  // namespace

void CudaKernels::sum(const Tensor& x, Tensor out) {
  check_sum(x, out);
  sum_by_blocks<false>(x, out);
}

void CudaKernels::sum_of_squares(const Tensor& x, Tensor out) {
  check_sum_of_squares(x, out);
  sum_by_blocks<true>(x, out);
}

void CudaKernels::count_non_finite(const Tensor& x, Tensor count) {
  check_count_non_finite(x, count);
  count.fill(0);
  if (x.numel() == 0) return;
  const Tensor dense = x.contiguous();
  visit_dtype_of(x, [&]<class T>(T) {
    launch(count_non_finite_kernel<T>, blocks_for(x.numel(), sum_block), row_block, 0, stream_of(x), pointer<T>(dense),
           x.numel(), pointer<std::int32_t>(count));
  });
}

void CudaKernels::adamw(Tensor master, Tensor m, Tensor v, const Tensor& gradient, Tensor value, const AdamW& options) {
  check_adamw(master, m, v, gradient, value, options);
  if (master.numel() == 0) return;
  const auto correction = [&](float beta) {
    return static_cast<float>(1 / (1 - std::pow(static_cast<double>(beta), static_cast<double>(options.step))));
  };
  const AdamWStep step{options, correction(options.beta1), correction(options.beta2)};
  const bool vectors = is_aligned(pointer<float>(master)) && is_aligned(pointer<float>(m)) &&
                       is_aligned(pointer<float>(v)) && is_aligned(pointer<float>(gradient));
  visit_dtype_of(value.defined() ? value : master, [&]<class T>(T) {
    launch(adamw_kernel<T>, blocks_for(master.numel(), threads * vector_width<float>), threads, 0, stream_of(master),
           pointer<float>(master), pointer<float>(m), pointer<float>(v), pointer<float>(gradient), pointer<T>(value),
           step, master.numel(), vectors);
  });
}

}  // namespace skymm::cuda
