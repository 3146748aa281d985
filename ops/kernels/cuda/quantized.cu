#include "core/error.hpp"
#include "ops/kernels/cuda/backend.hpp"

namespace skymm::cuda {

void CudaKernels::quantize(const Tensor&, const QuantizedTensor&) { fail("quantize: not built yet for CUDA"); }
void CudaKernels::dequantize(const QuantizedTensor&, Tensor) { fail("dequantize: not built yet for CUDA"); }
LinearWeightPtr CudaKernels::make_linear_weight(std::span<const QuantizedTensor>, DType) { fail("make_linear_weight: not built yet for CUDA"); }

}  // namespace skymm::cuda
