#include "ops/kernels/cuda/attention.hpp"

#include "core/error.hpp"
#include "ops/kernels/cuda/backend.hpp"
#include "ops/kernels/cuda/cudnn.hpp"

namespace skymm::cuda {
namespace {

void check_width(const char* primitive, const Tensor& q) {
  check(q.dim(2) <= max_attention_width, "{}: heads of width {} are wider than CUDA's kernels take, {}", primitive,
        q.dim(2), max_attention_width);
}

}  // namespace

AttentionArguments attention_arguments(const AttentionProblem& problem, const AttentionShape& shape,
                                       std::int64_t kv_heads) {
  return {problem,
          shape.query_offsets.data<std::int32_t>(),
          shape.key_offsets.data<std::int32_t>(),
          shape.key_lengths.defined() ? shape.key_lengths.data<std::int32_t>() : nullptr,
          static_cast<int>(shape.query_offsets.dim(0) - 1),
          static_cast<int>(kv_heads),
          static_cast<int>(shape.max_queries),
          static_cast<int>(shape.max_keys)};
}

void CudaKernels::attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionShape& shape, Tensor out,
                            Tensor logsumexp) {
  const AttentionProblem problem = attention_problem("attention", q, k, v, shape, out, logsumexp);
  check_width("attention", q);
  if (out.numel() == 0 || attention_by_cudnn(q, k, v, shape, out, logsumexp)) return;
  const AttentionArguments arguments = attention_arguments(problem, shape, k.dim(1));
  const KeySplit split = split_keys(arguments, q.dim(0));
  const PurposeScope purpose(Purpose::workspace);
  const Tensor workspace = Tensor::empty({split.workspace()}, DType::f32, out.device());
  cuda::attention(arguments, split, workspace.data<float>(), current_stream(out.device()));
}

void CudaKernels::attention_gradient(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v,
                                     const Tensor& out, const Tensor& logsumexp, const AttentionShape& shape, Tensor dq,
                                     Tensor dk, Tensor dv) {
  const AttentionProblem problem = attention_gradient_problem(dout, q, k, v, out, logsumexp, shape, dq, dk, dv);
  check_width("attention_gradient", q);
  if (q.numel() == 0 && k.numel() == 0) return;
  if (attention_gradient_by_cudnn(dout, q, k, v, out, logsumexp, shape, dq, dk, dv)) return;
  const PurposeScope purpose(Purpose::workspace);
  const Tensor delta = Tensor::empty(logsumexp.shape(), DType::f32, dq.device());
  cuda::attention_gradient(attention_arguments(problem, shape, k.dim(1)), q.dim(0), delta.data<float>(),
                           current_stream(dq.device()));
}

}  // namespace skymm::cuda
