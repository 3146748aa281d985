// Large products by cuBLASLt: what it is asked for, as plain values, so that their meaning is tested without it. A
// build has the library (nvidia/cublaslt.cpp), or an emulation of what its manual says (tests/cuda_emulation/cublaslt).
#pragma once

#include <array>
#include <map>
#include <mutex>
#include <optional>

#include "core/stream.hpp"
#include "ops/kernels/matrix.hpp"

namespace skymm::cuda::cublaslt {

// A matrix, or a batch of them, as it lies in memory: its element (r, c) is data[c * step + r], column by column.
struct Operand {
  void* data = nullptr;
  DType dtype = DType::f32;
  bool transposed = false;  // when it is multiplied
  std::int64_t rows = 0, cols = 0, step = 0;
  std::int64_t batch = 1, batch_step = 0;
};

// What becomes of the sums; gelu is its approximation by tanh.
enum class Finish : std::uint8_t { none, bias, relu, relu_bias, gelu, gelu_bias };

// result = finish(alpha first second + beta result + bias); bias: an element a row of the result, of its dtype.
struct Request {
  Operand first, second, result;
  float alpha = 1.0F, beta = 0.0F;
  Finish finish = Finish::none;
  const void* bias = nullptr;
};

// c = epilogue(a b), as the library is asked for it. None where the hand-written product does better, or what the
// library does not: small products, rows that overlap, other activations, a bias of another dtype or alignment.
std::optional<Request> request_for(const Matrix& a, const Matrix& b, const Matrix& c, const Epilogue& epilogue);

// False, and nothing is enqueued, where the library has no algorithm for it.
bool enqueue(const Request& request, Stream& stream);

// How many bytes, a power of two up to 256, divide the address: algorithms ask for it.
std::int64_t alignment_of(const void* address);

// All that the choice of an algorithm depends on.
using Key = std::array<std::int64_t, 19>;
Key key_of(const Request& request);

// The algorithms for all requests so far.
template <class Algorithm>
class Algorithms {
 public:
  // search: () -> std::optional<Algorithm>, none where the library has none. Called once for all requests of a key.
  template <class Search>
  std::optional<Algorithm> find(const Request& request, const Search& search) {
    const std::lock_guard lock(mutex_);
    const auto [at, is_new] = found_.try_emplace(key_of(request));
    if (is_new) at->second = search();
    return at->second;
  }
  // From now on there is none for this request.
  void give_up(const Request& request) {
    const std::lock_guard lock(mutex_);
    found_[key_of(request)].reset();
  }

 private:
  std::mutex mutex_;
  std::map<Key, std::optional<Algorithm>> found_;
};

}  // namespace skymm::cuda::cublaslt
