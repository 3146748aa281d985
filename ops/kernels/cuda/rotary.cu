// Rotary position embedding. Angles are counted in turns, in double precision, so that a long text's last positions are
// as exact as its first.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "ops/kernels/checks.hpp"
#include "ops/kernels/cuda/backend.hpp"
#include "ops/kernels/cuda/launch.hpp"

namespace skymm::cuda {
namespace {

constexpr int threads = 128;
constexpr int most_pairs = 128;  // of a launch; wider heads take several

// The pairs [begin, end) of the heads, and their turns a position.
struct Turns {
  int begin, end;
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
  const int count = turns.end - turns.begin;
  for (int j = static_cast<int>(threadIdx.x); j < count; j += threads) {
    const double turn = turns.of[j] * position;
    const float angle = 6.2831853071795865F * static_cast<float>(turn - rint(turn));
    angles[j] = make_float2(cosf(angle), sinf(angle));
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < heads * count; i += threads) {
    const int head = i / count, j = turns.begin + i % count;
    const T* from = x.data + token * x.token_stride + head * x.head_stride;
    T* to = y.data + token * y.token_stride + head * y.head_stride;
    const float a = to_float(from[j]), b = to_float(from[j + pairs]);
    const float2 angle = angles[j - turns.begin];
    to[j] = from_float<T>(a * angle.x - b * angle.y);
    to[j + pairs] = from_float<T>(a * angle.y + b * angle.x);
  }
}

}  // namespace

void CudaKernels::rotary_embedding(const Tensor& x, const Tensor& positions, float theta, bool inverse, Tensor y) {
  check_rotary_embedding(x, positions, y);
  if (x.numel() == 0) return;
  const auto pairs = static_cast<int>(x.dim(2) / 2);
  for (int begin = 0; begin < pairs; begin += most_pairs) {
    Turns turns{begin, std::min(pairs, begin + most_pairs), {}};
    for (int j = begin; j < turns.end; ++j) {
      turns.of[j - begin] =
          std::pow(static_cast<double>(theta), -static_cast<double>(j) / pairs) / (2 * std::numbers::pi);
    }
    visit_dtype_of(x, [&]<class T>(T) {
      launch(rotary_kernel<T>, static_cast<unsigned>(x.dim(0)), threads, 0, stream_of(x), Heads<T>(x), Heads<T>(y),
             pointer<std::int32_t>(positions), turns, inverse, static_cast<int>(x.dim(1)), pairs);
    });
  }
}

}  // namespace skymm::cuda
