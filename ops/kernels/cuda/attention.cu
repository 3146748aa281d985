#include "core/error.hpp"
#include "ops/kernels/cuda/backend.hpp"

namespace skymm::cuda {

void CudaKernels::attention(const Tensor&, const Tensor&, const Tensor&, const AttentionShape&, Tensor, Tensor) {
  fail("attention: not built yet for CUDA");
}
void CudaKernels::attention_gradient(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                                     const Tensor&, const AttentionShape&, Tensor, Tensor, Tensor) {
  fail("attention_gradient: not built yet for CUDA");
}

}  // namespace skymm::cuda
