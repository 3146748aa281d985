#include "ops/kernels/cpu/backend.hpp"
#include "ops/kernels/cpu/launch.hpp"
#include "ops/kernels/cpu/matmul.hpp"

namespace skymm {

void CpuKernels::gemm(const Tensor& a, const Tensor& b, Tensor c, const Gemm& options) {
  const Product p = gemm_product(a, b, c, options);
  if (c.numel() == 0) return;
  launch(c, [=] {
    matmul(p.a, p.b, p.c, {.alpha = options.alpha, .accumulate = options.accumulate});
    static_cast<void>(a), static_cast<void>(b), static_cast<void>(c);  // captured: the memory lives until here
  });
}

}  // namespace skymm
