// What cuBLASLt's manual says of a product, for the emulated device: element by element in double precision, in
// columns, when its stream comes to it. What the library would refuse, or take for something else, is an Error.
#include <utility>

#include "core/error.hpp"
#include "ops/kernels/cuda/activation.hpp"
#include "ops/kernels/cuda/cublaslt.hpp"
#include "ops/kernels/cuda/primitives.hpp"

namespace skymm::cuda::cublaslt {
namespace {

double element(const void* data, DType dtype, std::int64_t at) {
  return dtype == DType::bf16 ? to_float(static_cast<const bf16*>(data)[at]) : static_cast<const float*>(data)[at];
}

// Of the matrix that is multiplied: x, or its transpose.
double element(const Operand& x, std::int64_t batch, std::int64_t row, std::int64_t column) {
  if (x.transposed) std::swap(row, column);
  return element(x.data, x.dtype, batch * x.batch_step + column * x.step + row);
}
std::int64_t rows_of(const Operand& x) { return x.transposed ? x.cols : x.rows; }
std::int64_t cols_of(const Operand& x) { return x.transposed ? x.rows : x.cols; }

bool has_bias(Finish finish) {
  return finish == Finish::bias || finish == Finish::relu_bias || finish == Finish::gelu_bias;
}

float finished(Finish finish, float value) {
  if (finish == Finish::relu || finish == Finish::relu_bias) return activate(Activation::relu, value);
  if (finish == Finish::gelu || finish == Finish::gelu_bias) return activate(Activation::gelu_tanh, value);
  return value;
}

// A block is a thread, which makes a column of the result.
void product(Request request) {
  const auto& [first, second, result, alpha, beta, finish, bias] = request;
  const std::int64_t column = blockIdx.x, batch = blockIdx.z;
  for (std::int64_t row = 0; row < result.rows; ++row) {
    double sum = 0;
    for (std::int64_t k = 0; k < cols_of(first); ++k) {
      sum += element(first, batch, row, k) * element(second, batch, k, column);
    }
    sum *= alpha;
    const std::int64_t at = batch * result.batch_step + column * result.step + row;
    if (beta != 0) sum += beta * element(result.data, result.dtype, at);
    if (has_bias(finish)) sum += element(bias, result.dtype, row);
    const float value = finished(finish, static_cast<float>(sum));
    if (result.dtype == DType::bf16) {
      static_cast<bf16*>(result.data)[at] = from_float<bf16>(value);
    } else {
      static_cast<float*>(result.data)[at] = value;
    }
  }
}

void check_request(const Request& r) {
  check(rows_of(r.first) == r.result.rows && cols_of(r.second) == r.result.cols && !r.result.transposed &&
            cols_of(r.first) == rows_of(r.second),
        "emulated cuBLASLt: the matrices of a product do not fit each other");
  for (const Operand& x : {r.first, r.second, r.result}) {
    check(x.step >= x.rows && x.batch == r.result.batch, "emulated cuBLASLt: a layout that it refuses");
  }
  check(r.first.dtype == r.second.dtype && (r.result.dtype == r.first.dtype || r.result.dtype == DType::f32),
        "emulated cuBLASLt: there are no products of such types");
  check(has_bias(r.finish) == (r.bias != nullptr) && alignment_of(r.bias) >= 16,
        "emulated cuBLASLt: a bias that is not read, is not there, or not aligned");
}

// What an algorithm that was found for one request may not be used for.
bool differs(const Operand& x, const Operand& found) {
  return x.dtype != found.dtype || x.transposed != found.transposed || x.rows != found.rows || x.cols != found.cols ||
         x.step != found.step || x.batch != found.batch || x.batch_step != found.batch_step ||
         alignment_of(x.data) < alignment_of(found.data);
}

}  // namespace

bool enqueue(const Request& request, Stream& stream) {
  static Algorithms<Request> algorithms;  // an algorithm is what it was found for
  check_request(request);
  const Request found = *algorithms.find(request, [&] { return std::optional(request); });
  check(!differs(request.first, found.first) && !differs(request.second, found.second) &&
            !differs(request.result, found.result) && request.finish == found.finish && request.beta == found.beta,
        "emulated cuBLASLt: an algorithm that was found for another product");
  launch(product, dim3(static_cast<unsigned>(request.result.cols), 1, static_cast<unsigned>(request.result.batch)),
         dim3(1), 0, stream, request);
  return true;
}

}  // namespace skymm::cuda::cublaslt
