#include "ops/functions/loss.hpp"

#include <algorithm>

#include "core/error.hpp"

namespace skymm {
namespace {

// f32 [1]: factor * the sum of f32 losses.
Tensor total_of(const Tensor& losses, float factor) {
  const Tensor sum = Tensor::empty({1}, DType::f64, losses.device());
  kernels(losses).sum(losses, sum);
  const Tensor total = sum.to(DType::f32);
  if (factor != 1.0F) kernels(total).multiply(total, {}, factor, total);
  return total;
}

Tensor scaled(const Tensor& x, double factor) {
  if (factor == 1.0) return x;
  const Tensor y = x.empty_like();
  kernels(x).multiply(x, {}, static_cast<float>(factor), y);
  return y;
}

}  // namespace

Variable cross_entropy(const Variable& logits, const Tensor& labels, float weight) {
  const Tensor& x = logits.value();
  const Tensor losses = Tensor::empty({x.dim(0)}, DType::f32, x.device());
  const Tensor logsumexp = losses.empty_like();
  kernels(x).cross_entropy(x, labels, losses, logsumexp);
  return logits.graph().record(total_of(losses, weight),
                               {.name = "cross_entropy",
                                .inputs = {logits},
                                .input_gradient = [x, labels, logsumexp, weight](const NodeGradients& gradients) {
                                  const auto upstream = static_cast<float>(gradients.output().item());
                                  const Tensor dx = x.empty_like();
                                  kernels(x).cross_entropy_gradient(x, labels, logsumexp, weight * upstream, dx);
                                  gradients.add(0, dx);
                                }});
}

Variable linear_cross_entropy(const Variable& hidden, const Head& head, const Tensor& labels) {
  const Tensor& h = hidden.value();
  Kernels& run = kernels(h);
  Graph& graph = hidden.graph();
  const std::int64_t rows = h.dim(0), vocabulary = head.weight->out;
  check(labels.dim(0) == rows, "linear_cross_entropy got {} rows and {} labels", rows, labels.dim(0));

  const bool train_head = head.parameter != nullptr && head.parameter->trainable && graph.recording();
  const bool want_hidden = graph.recording() && hidden.needs_gradient();
  const Tensor dhidden = want_hidden ? h.empty_like() : Tensor();
  Tensor dweight;
  if (train_head) {
    const PurposeScope purpose(Purpose::gradients);
    dweight = Tensor::zeros({vocabulary, h.dim(1)}, DType::f32, h.device());
  }
  const Tensor losses = Tensor::empty({rows}, DType::f32, h.device());
  const Tensor logsumexp = losses.empty_like();
  const std::int64_t chunk = std::max<std::int64_t>(1, std::min(rows, head.chunk_rows));
  const Tensor logits = Tensor::empty({chunk, vocabulary}, h.dtype(), h.device());
  for (std::int64_t begin = 0; begin < rows; begin += chunk) {
    const std::int64_t end = std::min(rows, begin + chunk);
    const Tensor part = logits.slice(0, 0, end - begin), x = h.slice(0, begin, end), ids = labels.slice(0, begin, end);
    run.linear(x, *head.weight, {}, Activation::none, part);
    run.cross_entropy(part, ids, losses.slice(0, begin, end), logsumexp.slice(0, begin, end));
    if (!want_hidden && !train_head) continue;
    run.cross_entropy_gradient(part, ids, logsumexp.slice(0, begin, end), 1.0F, part);
    if (want_hidden) run.linear_input_gradient(part, *head.weight, dhidden.slice(0, begin, end));
    if (train_head) run.linear_weight_gradient(part, x, dweight);
  }

  return graph.record(
      total_of(losses, 1.0F),
      {.name = "linear_cross_entropy",
       .inputs = {hidden},
       .parameters = {head.parameter},
       .input_gradient =
           [dhidden](const NodeGradients& gradients) { gradients.add(0, scaled(dhidden, gradients.output().item())); },
       .weight_gradient =
           [dweight, parameter = head.parameter](std::span<const Tensor> upstream) {
             parameter->gradient_sum().add(dweight, static_cast<float>(upstream[0].item()));
           }});
}

Variable sum(const Variable& x, float factor) {
  return x.graph().record(
      total_of(x.value(), factor),
      {.name = "sum", .inputs = {x}, .input_gradient = [like = x.value(), factor](const NodeGradients& gradients) {
         gradients.add(0, Tensor::full(like.shape(), like.dtype(), factor * gradients.output().item(), like.device()));
       }});
}

}  // namespace skymm
