// Sums over all elements, the search for what is not finite, and AdamW.
#include <cmath>
#include <cstring>
#include <span>
#include <vector>

#include "ops/kernels/checks.hpp"
#include "ops/kernels/cuda/backend.hpp"
#include "ops/kernels/cuda/rows.hpp"

namespace skymm::cuda {
namespace {

constexpr int threads = 256;
constexpr std::int64_t elements_of_block = 4096;

std::int64_t blocks_of(std::int64_t elements) { return (elements + elements_of_block - 1) / elements_of_block; }

// ---- one launch over many tensors, each in blocks of its own -------------------------------------------------------

// A table of tensors in the device's memory. Entry: a tensor's pointers, `elements`, and `first_block` among all.
template <class Entry>
Tensor table_of(const std::vector<Entry>& entries, Device& device) {
  static_assert(sizeof(Entry) % sizeof(std::int64_t) == 0);
  std::vector<std::int64_t> words(entries.size() * sizeof(Entry) / sizeof(std::int64_t));
  std::memcpy(words.data(), entries.data(), entries.size() * sizeof(Entry));
  const PurposeScope purpose(Purpose::workspace);
  return Tensor::from(words, {static_cast<std::int64_t>(words.size())}, device);
}

// The last entry whose blocks begin with this one or before: it has this block, since empty ones begin with the next's.
template <class Entry>
__device__ __forceinline__ Entry entry_of_block(const Entry* table, int count) {
  int first = 0, last = count - 1;
  while (first < last) {
    const int middle = (first + last + 1) / 2;
    if (table[middle].first_block <= blockIdx.x) {
      first = middle;
    } else {
      last = middle - 1;
    }
  }
  return table[first];
}

struct SumEntry {
  const void* x;
  double* out;
  std::int64_t elements, first_block;
};

// partial[block] = the sum of x, or of its squares, over the block's elements
template <class T, bool squared>
__global__ void __launch_bounds__(row_block) block_sums_kernel(const SumEntry* table, int count, double* partial) {
  const SumEntry of = entry_of_block(table, count);
  const T* x = static_cast<const T*>(of.x);
  const std::int64_t begin = (blockIdx.x - of.first_block) * elements_of_block;
  const std::int64_t end = min(of.elements, begin + elements_of_block);
  double sum = 0;
  for (std::int64_t i = begin + threadIdx.x; i < end; i += row_block) {
    const double value = to_float(x[i]);
    sum += squared ? value * value : value;
  }
  sum = row_sum<row_block>(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// out = the sum of its blocks' sums, one after the other; the block's threads only fetch them. A block an entry.
__global__ void __launch_bounds__(row_block) sum_in_order_kernel(const SumEntry* table, const double* partial) {
  SKYMM_SHARED_ARRAY(double, next, row_block);
  const SumEntry of = table[blockIdx.x];
  const std::int64_t count = (of.elements + elements_of_block - 1) / elements_of_block;
  double sum = 0;
  for (std::int64_t begin = 0; begin < count; begin += row_block) {
    const std::int64_t mine = begin + threadIdx.x;
    next[threadIdx.x] = mine < count ? partial[of.first_block + mine] : 0;
    __syncthreads();
    if (threadIdx.x == 0) {
      for (int i = 0; i < row_block && begin + i < count; ++i) sum += next[i];
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) *of.out = sum;
}

// Blocks are of elements in row-major order: rows with gaps are copied together first.
template <bool squared>
void sum_by_blocks(std::span<const Tensor> xs, std::span<const Tensor> outs) {
  if (xs.empty()) return;
  std::vector<Tensor> dense;
  std::vector<SumEntry> entries;
  std::int64_t blocks = 0;
  for (std::size_t i = 0; i < xs.size(); ++i) {
    dense.push_back(xs[i].contiguous());
    entries.push_back({dense[i].raw(), pointer<double>(outs[i]), xs[i].numel(), blocks});
    blocks += blocks_of(xs[i].numel());
  }
  const Tensor table = table_of(entries, xs[0].device());
  const auto* const on_device = static_cast<const SumEntry*>(table.raw());
  const PurposeScope purpose(Purpose::workspace);
  const Tensor partial = Tensor::empty({blocks}, DType::f64, xs[0].device());
  if (blocks > 0) {
    visit_dtype_of(xs[0], [&]<class T>(T) {
      launch(block_sums_kernel<T, squared>, static_cast<unsigned>(blocks), row_block, 0, stream_of(table), on_device,
             static_cast<int>(entries.size()), pointer<double>(partial));
    });
  }
  launch(sum_in_order_kernel, static_cast<unsigned>(entries.size()), row_block, 0, stream_of(table), on_device,
         pointer<double>(partial));
}

template <class T>
__global__ void __launch_bounds__(row_block) count_non_finite_kernel(const T* x, std::int64_t n, std::int32_t* count) {
  const std::int64_t begin = blockIdx.x * elements_of_block, end = min(n, begin + elements_of_block);
  int found = 0;
  for (std::int64_t i = begin + threadIdx.x; i < end; i += row_block) {
    found += (__float_as_uint(to_float(x[i])) & 0x7f800000U) == 0x7f800000U ? 1 : 0;
  }
  found = row_sum<row_block>(found);
  if (threadIdx.x == 0 && found > 0) atomic_add(count, found);  // of integers: the order is nothing
}

struct AdamWEntry {
  float *master, *m, *v;
  const float* gradient;
  void* value;  // or null
  std::int64_t elements, first_block;
  float weight_decay;
  bool value_is_bf16, vectors;
};

struct AdamWStep {
  AdamW options;
  float correct1, correct2;
};

__global__ void __launch_bounds__(threads) adamw_kernel(const AdamWEntry* table, int count, AdamWStep step) {
  const AdamWEntry of = entry_of_block(table, count);
  const AdamW& o = step.options;
  const std::int64_t begin = (blockIdx.x - of.first_block) * elements_of_block;
  const std::int64_t end = min(of.elements, begin + elements_of_block);
#pragma unroll 1
  for (std::int64_t i = begin + threadIdx.x * vector_width<float>; i < end; i += threads * vector_width<float>) {
    const int left = static_cast<int>(min(end - i, static_cast<std::int64_t>(vector_width<float>)));
    float w[4], first[4], second[4], g[4];
    load_chunk(of.master + i, 0, left, of.vectors, w);
    load_chunk(of.m + i, 0, left, of.vectors, first);
    load_chunk(of.v + i, 0, left, of.vectors, second);
    load_chunk(of.gradient + i, 0, left, of.vectors, g);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      g[k] *= o.gradient_scale;
      first[k] = first[k] * o.beta1 + g[k] * (1 - o.beta1);
      second[k] = second[k] * o.beta2 + g[k] * g[k] * (1 - o.beta2);
      const float root = sqrtf(second[k] * step.correct2) + o.epsilon;
      w[k] -= (w[k] * of.weight_decay + first[k] * step.correct1 / root) * o.learning_rate;
    }
    store_chunk(of.master + i, 0, left, of.vectors, w);
    store_chunk(of.m + i, 0, left, of.vectors, first);
    store_chunk(of.v + i, 0, left, of.vectors, second);
    if (of.value == nullptr) continue;
#pragma unroll  // no indexed registers
    for (int k = 0; k < 4; ++k) {
      if (k >= left) continue;
      if (of.value_is_bf16) {
        static_cast<bf16*>(of.value)[i + k] = from_float<bf16>(w[k]);
      } else {
        static_cast<float*>(of.value)[i + k] = w[k];
      }
    }
  }
}

}  // namespace

void CudaKernels::sum(const Tensor& x, Tensor out) {
  check_sum(x, out);
  sum_by_blocks<false>({&x, 1}, {&out, 1});
}

void CudaKernels::sum_of_squares(std::span<const Tensor> xs, std::span<const Tensor> outs) {
  check_sum_of_squares(xs, outs);
  sum_by_blocks<true>(xs, outs);
}

void CudaKernels::count_non_finite(const Tensor& x, Tensor count) {
  check_count_non_finite(x, count);
  count.fill(0);
  if (x.numel() == 0) return;
  const Tensor dense = x.contiguous();
  visit_dtype_of(x, [&]<class T>(T) {
    launch(count_non_finite_kernel<T>, blocks_for(x.numel(), elements_of_block), row_block, 0, stream_of(x),
           pointer<T>(dense), x.numel(), pointer<std::int32_t>(count));
  });
}

void CudaKernels::adamw(std::span<const AdamWTensors> tensors, const AdamW& options) {
  check_adamw(tensors, options);
  std::vector<AdamWEntry> entries;
  std::int64_t blocks = 0;
  for (const auto& [master, m, v, gradient, value, decays] : tensors) {
    AdamWEntry of{};
    of.master = pointer<float>(master);
    of.m = pointer<float>(m);
    of.v = pointer<float>(v);
    of.gradient = pointer<float>(gradient);
    of.value = value.defined() ? value.raw() : nullptr;
    of.elements = master.numel();
    of.first_block = blocks;
    of.weight_decay = decays ? options.weight_decay : 0.0F;
    of.value_is_bf16 = value.defined() && value.dtype() == DType::bf16;
    of.vectors = is_aligned(of.master) && is_aligned(of.m) && is_aligned(of.v) && is_aligned(of.gradient);
    entries.push_back(of);
    blocks += blocks_of(of.elements);
  }
  if (blocks == 0) return;
  const auto correction = [&](float beta) {
    return static_cast<float>(1 / (1 - std::pow(static_cast<double>(beta), static_cast<double>(options.step))));
  };
  const AdamWStep step{options, correction(options.beta1), correction(options.beta2)};
  const Tensor table = table_of(entries, tensors[0].master.device());
  launch(adamw_kernel, static_cast<unsigned>(blocks), threads, 0, stream_of(table),
         static_cast<const AdamWEntry*>(table.raw()), static_cast<int>(entries.size()), step);
}

}  // namespace skymm::cuda
