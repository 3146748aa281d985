// In builds without cuDNN.
#include "ops/kernels/cuda/cudnn.hpp"

#include "core/error.hpp"

namespace skymm::cuda {

void set_cudnn(const CudnnUses& uses) {
  check(!uses.attention && !uses.patch_embedding,
        "this build has no cuDNN: install cuDNN 9.16 or later and configure the preset cuda again, or leave run.cudnn "
        "none");
}
bool attention_by_cudnn(const Tensor&, const Tensor&, const Tensor&, const AttentionShape&, const Tensor&,
                        const Tensor&) {
  return false;
}
bool attention_gradient_by_cudnn(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                                 const Tensor&, const AttentionShape&, const Tensor&, const Tensor&, const Tensor&) {
  return false;
}
bool patch_embedding_by_cudnn(const Tensor&, std::int64_t, const Tensor&, const Tensor&, const Tensor&) {
  return false;
}

}  // namespace skymm::cuda
