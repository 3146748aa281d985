#include <algorithm>
#include <cstring>
#include <type_traits>

#include "core/error.hpp"
#include "ops/kernels/cuda/device.hpp"
#include "ops/kernels/cuda/launch.hpp"

namespace skymm::cuda {
namespace {

constexpr std::size_t staging_bytes = std::size_t{4} << 20;
constexpr std::size_t staging_buffers = 4;
constexpr int threads = 256;

// An element's offset in two tensors of one shape and any strides. Dimensions that lie behind one another in both count
// as one, so that tensors without gaps need no division, which is slow.
struct Strided {
  Strided(const Tensor& x, const Tensor& y) {
    for (int i = 0; i < x.rank(); ++i) {
      const std::int64_t dim = x.shape()[i], x_stride = x.stride(i), y_stride = y.stride(i);
      if (dim == 1) continue;
      const bool continues = rank > 0 && x_strides[rank - 1] == dim * x_stride && y_strides[rank - 1] == dim * y_stride;
      if (!continues) ++rank;
      dims[rank - 1] = continues ? dims[rank - 1] * dim : dim;
      x_strides[rank - 1] = x_stride;
      y_strides[rank - 1] = y_stride;
    }
  }
  __device__ __forceinline__ void offsets(std::int64_t element, std::int64_t& x, std::int64_t& y) const {
    x = y = 0;
    for (int i = rank - 1; i > 0; --i) {
      const std::int64_t at = element % dims[i];
      element /= dims[i];
      x += at * x_strides[i];
      y += at * y_strides[i];
    }
    if (rank > 0) {  // what is left is within the first
      x += element * x_strides[0];
      y += element * y_strides[0];
    }
  }

  int rank = 0;
  std::int64_t dims[Shape::max_rank], x_strides[Shape::max_rank], y_strides[Shape::max_rank];
};

template <class To, class From>
__device__ __forceinline__ To convert(From value) {
  if constexpr (std::is_same_v<To, From>) {
    return value;
  } else if constexpr (std::is_same_v<To, bf16>) {
    return from_float<bf16>(static_cast<float>(value));
  } else if constexpr (std::is_same_v<From, bf16>) {
    return static_cast<To>(to_float(value));
  } else {
    return static_cast<To>(value);
  }
}

__device__ __forceinline__ std::int64_t thread_index() {
  return static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
}

template <class From, class To>
__global__ void __launch_bounds__(threads) copy_kernel(const From* from, To* to, Strided at, std::int64_t n) {
  if (thread_index() >= n) return;
  std::int64_t source, target;
  at.offsets(thread_index(), source, target);
  to[target] = convert<To>(from[source]);
}

template <class T>
__global__ void __launch_bounds__(threads) fill_kernel(T* x, T value, Strided at, std::int64_t n) {
  if (thread_index() >= n) return;
  std::int64_t source, target;
  at.offsets(thread_index(), source, target);
  x[target] = value;
}

template <class X, class Y, class Sum>
__global__ void __launch_bounds__(threads) add_kernel(const X* x, Y* y, Sum scale, Strided at, std::int64_t n) {
  if (thread_index() >= n) return;
  std::int64_t source, target;
  at.offsets(thread_index(), source, target);
  y[target] = convert<Y>(convert<Sum>(y[target]) + scale * convert<Sum>(x[source]));
}

// f(T{}) for the types that kernels convert between. f16 is for weights on disk only: the cpu converts it.
template <class F>
void visit_element(DType type, F&& f) {
  check(type != DType::f16, "f16 is not computed with on CUDA; convert it on the cpu first");
  if (type == DType::bf16) return f(bf16{});
  visit_dtype(type, [&](auto zero) {
    if constexpr (std::is_arithmetic_v<decltype(zero)>) f(zero);
  });
}

bool same_bytes(const Tensor& from, const Tensor& to) {
  return from.dtype() == to.dtype() && from.is_contiguous() && to.is_contiguous();
}

template <class X, class Y, class Sum>
void launch_add(const Tensor& x, const Tensor& y, float scale) {
  launch(add_kernel<X, Y, Sum>, blocks_for(x.numel(), threads), threads, 0, stream_of(y), pointer<X>(x), pointer<Y>(y),
         static_cast<Sum>(scale), Strided(x, y), x.numel());
}

}  // namespace

void CudaDevice::copy(const Tensor& from, Tensor to) {
  check(from.shape() == to.shape(), "cannot copy a tensor of shape {} to {}", from.shape(), to.shape());
  if (from.numel() == 0) return;
  if (same_bytes(from, to)) {
    copy_bytes(to.raw(), from.raw(), from.bytes(), stream_of(to));
    return;
  }
  visit_element(from.dtype(), [&]<class From>(From) {
    visit_element(to.dtype(), [&]<class To>(To) {
      launch(copy_kernel<From, To>, blocks_for(from.numel(), threads), threads, 0, stream_of(to), pointer<From>(from),
             pointer<To>(to), Strided(from, to), from.numel());
    });
  });
}

void CudaDevice::fill(Tensor x, double value) {
  if (x.numel() == 0) return;
  visit_element(x.dtype(), [&]<class T>(T) {
    T converted{};
    if constexpr (std::is_same_v<T, bf16>) {
      converted.bits = BFloat16(static_cast<float>(value)).bits;
    } else {
      converted = static_cast<T>(value);
    }
    launch(fill_kernel<T>, blocks_for(x.numel(), threads), threads, 0, stream_of(x), pointer<T>(x), converted,
           Strided(x, x), x.numel());
  });
}

void CudaDevice::add(const Tensor& x, Tensor y, float scale) {
  check(x.shape() == y.shape(), "cannot add a tensor of shape {} to {}", x.shape(), y.shape());
  check(&x.device() == this, "cannot add a tensor on {} to one on {}", x.device().name(), name());
  if (x.numel() == 0) return;
  const bool half = x.dtype() == DType::bf16, half_sum = y.dtype() == DType::bf16;
  const auto is_float = [](DType t) { return t == DType::f32 || t == DType::bf16; };
  check((is_float(x.dtype()) && is_float(y.dtype())) || (x.dtype() == DType::f64 && y.dtype() == DType::f64),
        "add takes f32 and bf16, or two f64; got {} and {}", name_of(x.dtype()), name_of(y.dtype()));
  if (x.dtype() == DType::f64) {
    launch_add<double, double, double>(x, y, scale);
  } else if (half) {
    half_sum ? launch_add<bf16, bf16, float>(x, y, scale) : launch_add<bf16, float, float>(x, y, scale);
  } else {
    half_sum ? launch_add<float, bf16, float>(x, y, scale) : launch_add<float, float, float>(x, y, scale);
  }
}

void CudaDevice::to_host(const Tensor& x, void* to) {
  const Tensor source = x.contiguous();
  Stream& stream = stream_of(x);
  struct Arriving {
    StagingBuffer from;
    void* to;
    std::size_t bytes;
  };
  std::deque<Arriving> arriving;
  const auto take_out = [&] {
    const auto& [from, into, bytes] = arriving.front();
    stream.synchronize_to(from.free_from.position);
    std::memcpy(into, from.pointer, bytes);
    arriving.pop_front();
  };
  for (std::size_t at = 0; at < source.bytes(); at += staging_bytes) {
    if (arriving.size() == staging_buffers / 2) take_out();  // the others still copy; no buffer is taken twice
    const std::size_t bytes = std::min(staging_bytes, source.bytes() - at);
    StagingBuffer buffer = take_staging();
    copy_bytes(buffer.pointer, static_cast<const char*>(source.raw()) + at, bytes, stream);
    buffer.free_from = stream.record();
    staging_.push_back(buffer);
    arriving.push_back({buffer, static_cast<char*>(to) + at, bytes});
  }
  while (!arriving.empty()) take_out();
  stream.synchronize();
}

CudaDevice::StagingBuffer CudaDevice::take_staging() {
  if (staging_.size() < staging_buffers) return {allocate_pinned(staging_bytes), {}};
  const StagingBuffer buffer = staging_.front();
  staging_.pop_front();
  if (buffer.free_from.stream != nullptr) buffer.free_from.stream->synchronize_to(buffer.free_from.position);
  return buffer;
}

void CudaDevice::forget(const Stream& stream) {
  allocator_.forget(stream);
  for (StagingBuffer& buffer : staging_) {
    if (buffer.free_from.stream == &stream) buffer.free_from = {};
  }
}

void CudaDevice::from_host(const void* from, Tensor to) {
  check(to.is_contiguous(), "from_host needs a contiguous tensor");
  Stream& stream = stream_of(to);
  for (std::size_t at = 0; at < to.bytes(); at += staging_bytes) {
    const std::size_t bytes = std::min(staging_bytes, to.bytes() - at);
    StagingBuffer buffer = take_staging();
    std::memcpy(buffer.pointer, static_cast<const char*>(from) + at, bytes);
    copy_bytes(static_cast<char*>(to.raw()) + at, buffer.pointer, bytes, stream);
    buffer.free_from = stream.record();
    staging_.push_back(buffer);
  }
}

}  // namespace skymm::cuda
