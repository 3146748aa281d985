#include "ops/kernels/cuda/backend.hpp"
#include "ops/kernels/cuda/multiply.hpp"

namespace skymm::cuda {

void CudaKernels::gemm(const Tensor& a, const Tensor& b, Tensor c, const Gemm& options) {
  const Product p = gemm_product(a, b, c, options);
  if (c.numel() == 0) return;
  cuda::multiply(p.a, p.b, p.c, {.alpha = options.alpha, .accumulate = options.accumulate}, current_stream(c.device()));
}

}  // namespace skymm::cuda
