// Large products by cuBLASLt, with bias and activation in its epilogue. cuBLASLt thinks in columns: a matrix of rows in
// memory is the transpose of one of columns, so it is asked for c^T = b^T a^T. Algorithms are asked for once a problem.
#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <optional>

#include "core/error.hpp"
#include "ops/kernels/cuda/multiply.hpp"

namespace skymm::cuda {
namespace {

constexpr std::size_t workspace_bytes = std::size_t{32} << 20;

void check_cublas(cublasStatus_t status, const char* doing) {
  check(status == CUBLAS_STATUS_SUCCESS, "cuBLASLt: {}: {}", doing, cublasLtGetStatusString(status));
}

cublasLtHandle_t handle() {
  static const cublasLtHandle_t handle = [] {
    cublasLtHandle_t made{};
    check_cublas(cublasLtCreate(&made), "starting");
    return made;
  }();
  return handle;
}

// Owns one of the library's descriptions.
template <class Handle, cublasStatus_t (*Destroy)(Handle)>
class Description {
 public:
  Description() = default;
  ~Description() {
    if (handle_ != nullptr) Destroy(handle_);
  }
  Description(const Description&) = delete;
  Description& operator=(const Description&) = delete;
  Handle* address() { return &handle_; }
  operator Handle() const { return handle_; }

 private:
  Handle handle_ = nullptr;
};
using Layout = Description<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Preference = Description<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

cudaDataType_t type_of(DType type) { return type == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F; }

// How x, rows in memory or their transpose, is named to a library of columns: as x^T, or x^T transposed.
struct Operand {
  cublasOperation_t operation;
  std::int64_t rows, cols, step;

  explicit Operand(const Matrix& x)
      : operation(x.col_step == 1 ? CUBLAS_OP_N : CUBLAS_OP_T),
        rows(x.col_step == 1 ? x.cols : x.rows),
        cols(x.col_step == 1 ? x.rows : x.cols),
        step(x.col_step == 1 ? x.row_step : x.col_step) {}
};

void describe(Layout& layout, const Operand& x, const Matrix& of) {
  check_cublas(cublasLtMatrixLayoutCreate(layout.address(), type_of(of.dtype), x.rows, x.cols, x.step),
               "describing a matrix");
  if (of.batch == 1) return;
  const auto count = static_cast<std::int32_t>(of.batch);
  check_cublas(cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof(count)),
               "describing a batch");
  check_cublas(cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &of.batch_step,
                                                sizeof(of.batch_step)),
               "describing a batch");
}

// The library's name of an epilogue; false where it has none. A bias it reads by vectors, which it does not say; and
// its tanh is not said to be exact enough for f32.
bool find_epilogue(const Epilogue& e, DType of_c, cublasLtEpilogue_t& found) {
  const bool bias = e.bias != nullptr;
  if (bias && (e.bias_dtype != of_c || reinterpret_cast<std::uintptr_t>(e.bias) % 16 != 0)) return false;
  switch (e.activation) {
    case Activation::none:
      found = bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
      return true;
    case Activation::relu:
      found = bias ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_RELU;
      return true;
    case Activation::gelu_tanh:
      if (of_c != DType::bf16) return false;
      found = bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
      return true;
    default:
      return false;
  }
}

// How many bytes, a power of two up to 256, divide the address: algorithms ask for it.
std::int64_t alignment_of(const void* address) {
  const auto bits = reinterpret_cast<std::uintptr_t>(address) | 256;
  return static_cast<std::int64_t>(bits & -bits);
}

// All that the choice of an algorithm depends on.
using Key = std::array<std::int64_t, 18>;
Key key_of(const Matrix& a, const Matrix& b, const Matrix& c, cublasLtEpilogue_t epilogue, bool accumulate) {
  return {c.rows,
          c.cols,
          a.cols,
          c.batch,
          a.row_step,
          a.col_step,
          b.row_step,
          b.col_step,
          c.row_step,
          a.batch_step,
          b.batch_step,
          c.batch_step,
          epilogue,
          accumulate,
          static_cast<std::int64_t>(a.dtype) * 16 + static_cast<std::int64_t>(c.dtype),
          alignment_of(a.data),
          alignment_of(b.data),
          alignment_of(c.data)};
}

class Multiplication {
 public:
  Multiplication(const Matrix& a, const Matrix& b, const Matrix& c, const Epilogue& e, cublasLtEpilogue_t epilogue) {
    check_cublas(cublasLtMatmulDescCreate(operation_.address(), CUBLAS_COMPUTE_32F, CUDA_R_32F),
                 "describing a product");
    const Operand first(b), second(a);
    set(CUBLASLT_MATMUL_DESC_TRANSA, first.operation);
    set(CUBLASLT_MATMUL_DESC_TRANSB, second.operation);
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
    if (e.bias != nullptr) {
      set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, e.bias);
      set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, type_of(e.bias_dtype));
    }
    describe(first_, first, b);
    describe(second_, second, a);
    describe(result_, Operand(c), c);
  }

  // False where the library has none.
  bool find_algorithm(const Matrix& a, const Matrix& b, const Matrix& c, cublasLtMatmulAlgo_t& found) const {
    Preference preference;
    check_cublas(cublasLtMatmulPreferenceCreate(preference.address()), "asking for an algorithm");
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
      check_cublas(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value)),
                   "asking for an algorithm");
    };
    const auto bytes = [](const Matrix& x) { return static_cast<std::uint32_t>(alignment_of(x.data)); };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_bytes);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, bytes(b));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, bytes(a));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, bytes(c));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, bytes(c));
    // Sums of one order: no atomics, and parts of k only where they are added up in the workspace.
    prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
           std::uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE | CUBLASLT_REDUCTION_SCHEME_NONE});
    cublasLtMatmulHeuristicResult_t result{};
    int count = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle(), operation_, first_, second_, result_,
                                                                 result_, preference, 1, &result, &count);
    found = result.algo;
    return status == CUBLAS_STATUS_SUCCESS && count > 0;
  }

  // False where the library refuses what its own search found.
  bool enqueue(const Matrix& a, const Matrix& b, const Matrix& c, const Epilogue& e,
               const cublasLtMatmulAlgo_t& algorithm, Stream& stream) const {
    const PurposeScope purpose(Purpose::workspace);
    const Tensor workspace = Tensor::empty({workspace_bytes}, DType::u8, stream.device());
    const float beta = e.accumulate ? 1.0F : 0.0F;
    const cublasStatus_t status = cublasLtMatmul(handle(), operation_, &e.alpha, b.data, first_, a.data, second_, &beta,
                                                 c.data, result_, c.data, result_, &algorithm, workspace.raw(),
                                                 workspace_bytes, static_cast<cudaStream_t>(stream.native_handle()));
    if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) return false;
    check_cublas(status, "multiplying");
    return true;
  }

 private:
  template <class T>
  void set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
    check_cublas(cublasLtMatmulDescSetAttribute(operation_, attribute, &value, sizeof(value)), "describing a product");
  }

  Description<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy> operation_;
  Layout first_, second_, result_;
};

// The library's algorithms, of all problems so far.
class Algorithms {
 public:
  // None where the library has none.
  std::optional<cublasLtMatmulAlgo_t> find(const Key& key, const Multiplication& multiplication, const Matrix& a,
                                           const Matrix& b, const Matrix& c) {
    const std::lock_guard lock(mutex_);
    const auto [at, is_new] = found_.try_emplace(key);
    cublasLtMatmulAlgo_t algorithm{};
    if (is_new && multiplication.find_algorithm(a, b, c, algorithm)) at->second = algorithm;
    return at->second;
  }
  void give_up(const Key& key) {
    const std::lock_guard lock(mutex_);
    found_[key].reset();
  }

 private:
  std::mutex mutex_;
  std::map<Key, std::optional<cublasLtMatmulAlgo_t>> found_;
};

Algorithms& algorithms() {
  static Algorithms all;
  return all;
}

}  // namespace

bool multiply_by_library(const Matrix& a, const Matrix& b, const Matrix& c, const Epilogue& epilogue, Stream& stream) {
  constexpr std::int64_t least = 16, least_work = std::int64_t{1} << 20;  // below, tiles are mostly empty
  if (std::min({c.rows, c.cols, a.cols}) < least || c.rows * c.cols * a.cols < least_work) return false;
  cublasLtEpilogue_t name{};
  if (!find_epilogue(epilogue, c.dtype, name)) return false;
  const Multiplication multiplication(a, b, c, epilogue, name);
  const Key key = key_of(a, b, c, name, epilogue.accumulate);
  const auto algorithm = algorithms().find(key, multiplication, a, b, c);
  if (!algorithm) return false;
  if (multiplication.enqueue(a, b, c, epilogue, *algorithm, stream)) return true;
  algorithms().give_up(key);
  return false;
}

}  // namespace skymm::cuda
