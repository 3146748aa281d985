// What cuDNN computes in place of kernels of this folder, where it was asked to (use_cudnn, kernels.hpp) and has an
// engine for the shapes. The first time that it has none the log says so.
#pragma once

#include "ops/kernels/kernels.hpp"

namespace skymm::cuda {

struct CudnnUses {
  bool attention = false, patch_embedding = false;
};
// Throws Error where this build has no cuDNN, or the one that is installed is too old.
void set_cudnn(const CudnnUses& uses);

// The functions below take what the primitives of their name take, checked. False: nothing was enqueued, the caller's
// kernel is to do it.

// Of bf16, in sequences of one length whose heads are aligned to 16 bytes. logsumexp and its gradient are as the
// kernels' own: a forward by one and a gradient by the other go together.
bool attention_by_cudnn(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionShape& shape,
                        const Tensor& out, const Tensor& logsumexp);
bool attention_gradient_by_cudnn(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v,
                                 const Tensor& out, const Tensor& logsumexp, const AttentionShape& shape,
                                 const Tensor& dq, const Tensor& dk, const Tensor& dv);

// Of bf16, as a convolution whose windows lie side by side. weight [out, C p p], plain.
bool patch_embedding_by_cudnn(const Tensor& pixels, std::int64_t patch, const Tensor& weight, const Tensor& bias,
                              const Tensor& y);

}  // namespace skymm::cuda
