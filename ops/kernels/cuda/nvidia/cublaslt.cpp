// Requests (../cublaslt.hpp) in the library's own words. Algorithms are asked for once a problem.
#include "ops/kernels/cuda/cublaslt.hpp"

#include <cublasLt.h>

#include "core/error.hpp"

namespace skymm::cuda::cublaslt {
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

void describe(Layout& layout, const Operand& x) {
  check_cublas(cublasLtMatrixLayoutCreate(layout.address(), type_of(x.dtype), x.rows, x.cols, x.step),
               "describing a matrix");
  if (x.batch == 1) return;
  const auto count = static_cast<std::int32_t>(x.batch);
  check_cublas(cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof(count)),
               "describing a batch");
  check_cublas(cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &x.batch_step,
                                                sizeof(x.batch_step)),
               "describing a batch");
}

cublasOperation_t operation_of(const Operand& x) { return x.transposed ? CUBLAS_OP_T : CUBLAS_OP_N; }

cublasLtEpilogue_t epilogue_for(Finish finish) {
  switch (finish) {
    case Finish::bias:
      return CUBLASLT_EPILOGUE_BIAS;
    case Finish::relu:
      return CUBLASLT_EPILOGUE_RELU;
    case Finish::relu_bias:
      return CUBLASLT_EPILOGUE_RELU_BIAS;
    case Finish::gelu:
      return CUBLASLT_EPILOGUE_GELU;
    case Finish::gelu_bias:
      return CUBLASLT_EPILOGUE_GELU_BIAS;
    default:
      return CUBLASLT_EPILOGUE_DEFAULT;
  }
}

class Multiplication {
 public:
  explicit Multiplication(const Request& request) : request_(request) {
    check_cublas(cublasLtMatmulDescCreate(operation_.address(), CUBLAS_COMPUTE_32F, CUDA_R_32F),
                 "describing a product");
    set(CUBLASLT_MATMUL_DESC_TRANSA, operation_of(request.first));
    set(CUBLASLT_MATMUL_DESC_TRANSB, operation_of(request.second));
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue_for(request.finish));
    if (request.bias != nullptr) {
      set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, request.bias);
      set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, type_of(request.result.dtype));
    }
    describe(first_, request.first);
    describe(second_, request.second);
    describe(result_, request.result);
  }

  // None where the library has none.
  std::optional<cublasLtMatmulAlgo_t> find_algorithm() const {
    Preference preference;
    check_cublas(cublasLtMatmulPreferenceCreate(preference.address()), "asking for an algorithm");
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
      check_cublas(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value)),
                   "asking for an algorithm");
    };
    const auto bytes = [](const Operand& x) { return static_cast<std::uint32_t>(alignment_of(x.data)); };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_bytes);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, bytes(request_.first));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, bytes(request_.second));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, bytes(request_.result));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, bytes(request_.result));
    // Sums of one order: no atomics, and parts of k only where they are added up in the workspace.
    prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
           std::uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE | CUBLASLT_REDUCTION_SCHEME_NONE});
    cublasLtMatmulHeuristicResult_t result{};
    int count = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle(), operation_, first_, second_, result_,
                                                                 result_, preference, 1, &result, &count);
    if (status != CUBLAS_STATUS_SUCCESS || count == 0) return {};
    return result.algo;
  }

  // False where the library refuses what its own search found.
  bool run(const cublasLtMatmulAlgo_t& algorithm, Stream& stream) const {
    const PurposeScope purpose(Purpose::workspace);
    const Tensor workspace = Tensor::empty({workspace_bytes}, DType::u8, stream.device());
    void* const to = request_.result.data;
    const cublasStatus_t status =
        cublasLtMatmul(handle(), operation_, &request_.alpha, request_.first.data, first_, request_.second.data,
                       second_, &request_.beta, to, result_, to, result_, &algorithm, workspace.raw(), workspace_bytes,
                       static_cast<cudaStream_t>(stream.native_handle()));
    if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) return false;
    check_cublas(status, "multiplying");
    return true;
  }

 private:
  template <class T>
  void set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
    check_cublas(cublasLtMatmulDescSetAttribute(operation_, attribute, &value, sizeof(value)), "describing a product");
  }

  const Request& request_;
  Description<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy> operation_;
  Layout first_, second_, result_;
};

}  // namespace

bool enqueue(const Request& request, Stream& stream) {
  static Algorithms<cublasLtMatmulAlgo_t> algorithms;
  const Multiplication multiplication(request);
  const auto algorithm = algorithms.find(request, [&] { return multiplication.find_algorithm(); });
  if (!algorithm) return false;
  if (multiplication.run(*algorithm, stream)) return true;
  algorithms.give_up(request);
  return false;
}

}  // namespace skymm::cuda::cublaslt
