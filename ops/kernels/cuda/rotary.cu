// Rotary position embedding. Angles are counted in turns, in double precision, so that a long text's last positions are
// as exact as its first.
#include <cmath>
#include <numbers>

#include "ops/kernels/checks.hpp"
#include "ops/kernels/cuda/backend.hpp"
#include "ops/kernels/cuda/launch.hpp"

namespace skymm::cuda {
namespace {

constexpr int threads = 128;
constexpr int most_pairs = 256;  // heads up to 512 wide

// Turns a position, of each pair of a head.
struct Turns {
  double of[most_pairs];
};

template <class T>
struct Heads {
  explicit Heads(const Tensor& x) : data(pointer<T>(x)), token_stride(x.stride(0)), head_stride(x.stride(1)) {}
  T* data;
  std::int64_t token_stride, head_stride;
};

// A block has a token: first the angles, then all pairs of all heads.
template <class T>
__global__ void __launch_bounds__(threads) rotary_kernel(Heads<T> x, Heads<T> y, const std::int32_t* positions,
                                                         Turns turns, bool inverse, int heads, int pairs) {
  SKYMM_SHARED_ARRAY(float2, angles, most_pairs);  // cosine, sine
  const std::int64_t token = blockIdx.x;
  const double position = inverse ? -positions[token] : positions[token];
  for (int j = static_cast<int>(threadIdx.x); j < pairs; j += threads) {
    const double turn = turns.of[j] * position;
    const float angle = 6.2831853071795865F * static_cast<float>(turn - rint(turn));
    angles[j] = make_float2(cosf(angle), sinf(angle));
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < heads * pairs; i += threads) {
    const int head = i / pairs, j = i % pairs;
    const T* from = x.data + token * x.token_stride + head * x.head_stride;
    T* to = y.data + token * y.token_stride + head * y.head_stride;
    const float a = to_float(from[j]), b = to_float(from[j + pairs]);
    const float2 angle = angles[j];
    to[j] = from_float<T>(a * angle.x - b * angle.y);
    to[j + pairs] = from_float<T>(a * angle.y + b * angle.x);
  }
}

}  // namespace

void CudaKernels::rotary_embedding(const Tensor& x, const Tensor& positions, float theta, bool inverse, Tensor y) {
  check_rotary_embedding(x, positions, y);
  if (x.numel() == 0) return;
  const std::int64_t pairs = x.dim(2) / 2;
  check(pairs <= most_pairs, "rotary_embedding: heads of {} are wider than {}, the most on CUDA", x.dim(2),
        2 * most_pairs);
  Turns turns{};
  for (std::int64_t j = 0; j < pairs; ++j) {
    turns.of[j] = std::pow(static_cast<double>(theta), -static_cast<double>(j) / static_cast<double>(pairs)) /
                  (2 * std::numbers::pi);
  }
  visit_dtype_of(x, [&]<class T>(T) {
    launch(rotary_kernel<T>, static_cast<unsigned>(x.dim(0)), threads, 0, stream_of(x), Heads<T>(x), Heads<T>(y),
           pointer<std::int32_t>(positions), turns, inverse, static_cast<int>(x.dim(1)), static_cast<int>(pairs));
  });
}

}  // namespace skymm::cuda
