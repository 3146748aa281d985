#include "core/error.hpp"
#include "ops/kernels/cuda/backend.hpp"

namespace skymm::cuda {

LinearWeightPtr CudaKernels::make_linear_weight(const Tensor&, Packing) {
  fail("make_linear_weight: not built yet for CUDA");
}
void CudaKernels::linear(const Tensor&, const LinearWeight&, const Tensor&, Activation, Tensor, bool) {
  fail("linear: not built yet for CUDA");
}
void CudaKernels::linear_input_gradient(const Tensor&, const LinearWeight&, Tensor, bool) {
  fail("linear_input_gradient: not built yet for CUDA");
}
void CudaKernels::linear_weight_gradient(const Tensor&, const Tensor&, Tensor, float) {
  fail("linear_weight_gradient: not built yet for CUDA");
}

}  // namespace skymm::cuda
