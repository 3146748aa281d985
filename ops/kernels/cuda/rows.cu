// Rows by index, and patches of pictures as rows. A kernel cannot throw: an index past the end gives a row of NaN where
// rows are gathered, and is left out where they are scattered.
#include <algorithm>
#include <cstring>

#include "ops/kernels/checks.hpp"
#include "ops/kernels/cuda/backend.hpp"
#include "ops/kernels/cuda/rows.hpp"

namespace skymm::cuda {
namespace {

constexpr int threads = 256;

// Rows as words of one size: the largest of 16, 8, 4, 2 and 1 bytes that all of them are multiples of.
struct WordRows {
  WordRows(const Tensor& x, int word)
      : data(static_cast<char*>(x.raw())),
        stride(RowLayout(x).stride * static_cast<std::int64_t>(size_of(x.dtype())) / word) {}

  char* data;
  std::int64_t stride;  // in words
};
std::size_t row_bytes(const Tensor& x) { return static_cast<std::size_t>(width_of(x)) * size_of(x.dtype()); }
int word_of(const Tensor& x, const Tensor& y) {
  std::size_t all = row_bytes(x);
  for (const Tensor* of : {&x, &y}) {
    all |= reinterpret_cast<std::uintptr_t>(of->raw());
    all |= static_cast<std::size_t>(RowLayout(*of).stride) * size_of(of->dtype());
  }
  return static_cast<int>(std::min<std::size_t>(16, all & (~all + 1)));
}
template <class F>
void visit_word(int bytes, F&& f) {
  switch (bytes) {
    case 16:
      return f(uint4{});
    case 8:
      return f(uint2{});
    case 4:
      return f(std::uint32_t{});
    case 2:
      return f(std::uint16_t{});
    default:
      return f(std::uint8_t{});
  }
}

template <class Word>
__device__ __forceinline__ Word repeated(int byte) {
  Word word;
  memset(&word, byte, sizeof(Word));
  return word;
}

// y[i] = x[rows[i]]
template <class Word>
__global__ void __launch_bounds__(threads)
    gather_kernel(WordRows x, const std::int32_t* rows, WordRows y, std::int64_t count, std::int64_t limit, int words) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (i >= count * words) return;
  const std::int64_t to = i / words, at = i % words;
  const std::int32_t from = rows[to];
  Word word = repeated<Word>(from < 0 ? 0 : 0xFF);
  if (from >= 0 && from < limit) word = reinterpret_cast<const Word*>(x.data)[from * x.stride + at];
  reinterpret_cast<Word*>(y.data)[to * y.stride + at] = word;
}

// y[rows[i]] = x[i]
template <class Word>
__global__ void __launch_bounds__(threads) scatter_kernel(WordRows x, const std::int32_t* rows, WordRows y,
                                                          std::int64_t count, std::int64_t limit, int words) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (i >= count * words) return;
  const std::int64_t from = i / words, at = i % words;
  const std::int32_t to = rows[from];
  if (to < 0 || to >= limit) return;
  reinterpret_cast<Word*>(y.data)[to * y.stride + at] = reinterpret_cast<const Word*>(x.data)[from * x.stride + at];
}

// y[rows[i]] += x[i] in ascending i, without atomics. Block i works if no row before i has its target, and then adds
// all rows from i on that have it: so each target is one block's, and the order is fixed.
template <class T>
__global__ void __launch_bounds__(row_block)
    scatter_add_kernel(DeviceRows<T> x, const std::int32_t* rows, DeviceRows<float> y, std::int64_t count,
                       std::int64_t limit, int width) {
  SKYMM_SHARED_ARRAY(std::int32_t, targets, row_block);
  const std::int64_t me = blockIdx.x;
  const std::int32_t target = rows[me];
  int is_mine = target >= 0 && target < limit ? 1 : 0;
  for (std::int64_t i = threadIdx.x; i < me && is_mine != 0; i += row_block) is_mine = rows[i] != target ? 1 : 0;
  if (__syncthreads_and(is_mine) == 0) return;  // the whole block
  for (std::int64_t begin = me; begin < count; begin += row_block) {
    const std::int64_t mine = begin + threadIdx.x;
    targets[threadIdx.x] = mine < count ? rows[mine] : -1;
    const int found = __syncthreads_or(targets[threadIdx.x] == target);
    for (int i = 0; i < row_block && found != 0; ++i) {
      if (targets[i] != target) continue;
      for (int column = static_cast<int>(threadIdx.x); column < width; column += row_block) {
        y[target][column] += to_float(x[begin + i][column]);
      }
    }
    __syncthreads();
  }
}

template <class T>
struct Pixels {
  explicit Pixels(const Tensor& x) : data(pointer<T>(x)), image(x.stride(0)), channel(x.stride(1)), line(x.stride(2)) {}
  const T* data;
  std::int64_t image, channel, line;  // strides
};

template <class T>
__global__ void __launch_bounds__(threads) patches_kernel(Pixels<T> pixels, DeviceRows<T> y, std::int64_t elements,
                                                          int channels, int down, int across, int patch) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (i >= elements) return;
  const int width = channels * patch * patch;
  const std::int64_t row = i / width, image = row / (down * across);
  const int at = static_cast<int>(i % width), place = static_cast<int>(row % (down * across));
  const int channel = at / (patch * patch), line = place / across * patch + at / patch % patch;
  const int column = place % across * patch + at % patch;
  y[row][at] = pixels.data[image * pixels.image + channel * pixels.channel + line * pixels.line + column];
}

}  // namespace

void CudaKernels::gather_rows(const Tensor& x, const Tensor& rows, Tensor y) {
  check_gather_rows(x, rows, y);
  if (y.numel() == 0) return;
  const int bytes = word_of(x, y), words = static_cast<int>(row_bytes(x)) / bytes;
  visit_word(bytes, [&]<class Word>(Word) {
    launch(gather_kernel<Word>, blocks_for(rows.numel() * words, threads), threads, 0, stream_of(y), WordRows(x, bytes),
           pointer<std::int32_t>(rows), WordRows(y, bytes), rows.numel(), rows_of(x), words);
  });
}

void CudaKernels::scatter_rows(const Tensor& x, const Tensor& rows, Tensor y) {
  check_scatter_rows(x, rows, y);
  if (x.numel() == 0) return;
  const int bytes = word_of(x, y), words = static_cast<int>(row_bytes(x)) / bytes;
  visit_word(bytes, [&]<class Word>(Word) {
    launch(scatter_kernel<Word>, blocks_for(rows.numel() * words, threads), threads, 0, stream_of(y),
           WordRows(x, bytes), pointer<std::int32_t>(rows), WordRows(y, bytes), rows.numel(), rows_of(y), words);
  });
}

void CudaKernels::scatter_add_rows(const Tensor& x, const Tensor& rows, Tensor y) {
  check_scatter_add_rows(x, rows, y);
  if (x.numel() == 0) return;
  visit_dtype_of(x, [&]<class T>(T) {
    launch(scatter_add_kernel<T>, static_cast<unsigned>(rows.numel()), row_block, 0, stream_of(y), DeviceRows<T>(x),
           pointer<std::int32_t>(rows), DeviceRows<float>(y), rows.numel(), rows_of(y), static_cast<int>(width_of(x)));
  });
}

void CudaKernels::extract_patches(const Tensor& pixels, std::int64_t patch, Tensor y) {
  check_extract_patches(pixels, patch, y);
  if (y.numel() == 0) return;
  visit_dtype_of(pixels, [&]<class T>(T) {
    launch(patches_kernel<T>, blocks_for(y.numel(), threads), threads, 0, stream_of(y), Pixels<T>(pixels),
           DeviceRows<T>(y), y.numel(), static_cast<int>(pixels.dim(1)), static_cast<int>(pixels.dim(2) / patch),
           static_cast<int>(pixels.dim(3) / patch), static_cast<int>(patch));
  });
}

}  // namespace skymm::cuda
