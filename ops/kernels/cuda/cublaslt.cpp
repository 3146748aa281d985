// cuBLASLt thinks in columns: a matrix of rows in memory is the transpose of one of columns, so it is asked for
// c^T = b^T a^T.
#include "ops/kernels/cuda/cublaslt.hpp"

#include <algorithm>

#include "ops/kernels/cuda/multiply.hpp"

namespace skymm::cuda {
namespace cublaslt {
namespace {

// x^T, whichever of x and its transpose has its rows in memory.
Operand transpose_of(const Matrix& x) {
  const bool rows = x.col_step == 1;
  return {.data = x.data,
          .dtype = x.dtype,
          .transposed = !rows,
          .rows = rows ? x.cols : x.rows,
          .cols = rows ? x.rows : x.cols,
          .step = rows ? x.row_step : x.col_step,
          .batch = x.batch,
          .batch_step = x.batch_step};
}

// None where the library has no name for it. A bias it reads by vectors, which it does not say; and its tanh is not
// said to be exact enough for f32.
std::optional<Finish> finish_of(const Epilogue& e, DType of_c) {
  const bool bias = e.bias != nullptr;
  if (bias && (e.bias_dtype != of_c || alignment_of(e.bias) < 16)) return {};
  switch (e.activation) {
    case Activation::none:
      return bias ? Finish::bias : Finish::none;
    case Activation::relu:
      return bias ? Finish::relu_bias : Finish::relu;
    case Activation::gelu_tanh:
      if (of_c != DType::bf16) return {};
      return bias ? Finish::gelu_bias : Finish::gelu;
    default:
      return {};
  }
}

}  // namespace

std::int64_t alignment_of(const void* address) {
  const auto bits = reinterpret_cast<std::uintptr_t>(address) | 256;
  return static_cast<std::int64_t>(bits & -bits);
}

std::optional<Request> request_for(const Matrix& a, const Matrix& b, const Matrix& c, const Epilogue& epilogue) {
  constexpr std::int64_t least = 16, least_work = std::int64_t{1} << 20;  // below, tiles are mostly empty
  if (std::min({c.rows, c.cols, a.cols}) < least || c.rows * c.cols * a.cols < least_work) return {};
  const std::optional<Finish> finish = finish_of(epilogue, c.dtype);
  if (!finish) return {};
  const Request request{.first = transpose_of(b),
                        .second = transpose_of(a),
                        .result = transpose_of(c),
                        .alpha = epilogue.alpha,
                        .beta = epilogue.accumulate ? 1.0F : 0.0F,
                        .finish = *finish,
                        .bias = epilogue.bias};
  for (const Operand& x : {request.first, request.second}) {
    if (x.step < x.rows) return {};
  }
  return request;
}

Key key_of(const Request& request) {
  const auto& [first, second, result, alpha, beta, finish, bias] = request;
  return {result.rows,
          result.cols,
          first.transposed ? first.rows : first.cols,
          result.batch,
          first.transposed,
          second.transposed,
          first.step,
          second.step,
          result.step,
          first.batch_step,
          second.batch_step,
          result.batch_step,
          static_cast<std::int64_t>(first.dtype),
          static_cast<std::int64_t>(result.dtype),
          static_cast<std::int64_t>(finish),
          beta != 0,
          alignment_of(first.data),
          alignment_of(second.data),
          alignment_of(result.data)};
}

}  // namespace cublaslt

bool multiply_by_library(const Matrix& a, const Matrix& b, const Matrix& c, const Epilogue& epilogue, Stream& stream) {
  const std::optional<cublaslt::Request> request = cublaslt::request_for(a, b, c, epilogue);
  return request && cublaslt::enqueue(*request, stream);
}

}  // namespace skymm::cuda
