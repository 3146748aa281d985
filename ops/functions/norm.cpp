#include "ops/functions/norm.hpp"

#include "ops/kernels/kernels.hpp"

// How a differentiable function is written: compute the output with the kernels of the tensor's device, write its
// gradient beside it, and hand both to graph.record(), which keeps the node only if a gradient passes through. The two
// parts of a backward are separate closures: the gradient of the inputs, which the walk needs at once, and that of the
// weights, which may wait. Each captures exactly the tensors that it will need; they are released as soon as it has
// run.

namespace skymm {

Variable rms_norm(const Variable& x, Parameter& weight, float eps) {
  Kernels& run = kernels(x.value());
  const Tensor y = x.value().empty_like();
  const Tensor inv_rms = Tensor::empty({y.dim(0)}, DType::f32, y.device());
  run.rms_norm(x.value(), {}, weight.value, eps, y, inv_rms);

  const auto input_gradient = [&run, x = x.value(), w = weight.value, inv_rms](const NodeGradients& gradients) {
    const auto [dx, accumulate] = gradients.into(0, x.shape(), x);
    run.rms_norm_input_gradient(gradients.output(), x, w, inv_rms, dx, accumulate);
  };
  const auto weight_gradient = [&run, x = x.value(), &weight, inv_rms](std::span<const Tensor> dy) {
    run.rms_norm_weight_gradient(dy[0], x, inv_rms, weight.gradient_sum());
  };
  return x.graph().record(y, {"rms_norm", {x}, {&weight}, input_gradient, weight_gradient});
}

ResidualNorm add_rms_norm(const Variable& x, const Variable& branch, Parameter& weight, float eps) {
  Kernels& run = kernels(x.value());
  const Tensor sum = branch.value();
  const Tensor y = sum.empty_like();
  const Tensor inv_rms = Tensor::empty({y.dim(0)}, DType::f32, y.device());
  run.rms_norm(sum, x.value(), weight.value, eps, y, inv_rms);

  // d sum = its own gradient + the one through the norm; x and branch both get it. Either output may be unused.
  const auto input_gradient = [&run, sum, w = weight.value, inv_rms](const NodeGradients& gradients) {
    const Tensor &dsum = gradients.output(0), &dy = gradients.output(1);
    const Tensor total = dsum.defined() ? dsum.clone() : sum.empty_like();
    if (dy.defined()) run.rms_norm_input_gradient(dy, sum, w, inv_rms, total, dsum.defined());
    gradients.add(0, total);
    gradients.add(1, total);
  };
  const auto weight_gradient = [&run, sum, &weight, inv_rms](std::span<const Tensor> dy) {
    if (dy[1].defined()) run.rms_norm_weight_gradient(dy[1], sum, inv_rms, weight.gradient_sum());
  };
  const std::vector<Variable> outputs =
      x.graph().record({sum, y}, {"add_rms_norm", {x, branch}, {&weight}, input_gradient, weight_gradient});
  return {outputs[0], outputs[1]};
}

Variable layer_norm(const Variable& x, Parameter& weight, Parameter& bias, float eps) {
  Kernels& run = kernels(x.value());
  const Tensor y = x.value().empty_like();
  const Tensor mean = Tensor::empty({y.dim(0)}, DType::f32, y.device());
  const Tensor inv_std = mean.empty_like();
  run.layer_norm(x.value(), weight.value, bias.value, eps, y, mean, inv_std);

  const auto input_gradient = [&run, x = x.value(), w = weight.value, mean, inv_std](const NodeGradients& gradients) {
    const auto [dx, accumulate] = gradients.into(0, x.shape(), x);
    run.layer_norm_input_gradient(gradients.output(), x, w, mean, inv_std, dx, accumulate);
  };
  const auto weight_gradient = [&run, x = x.value(), &weight, &bias, mean, inv_std](std::span<const Tensor> dy) {
    const auto sum_of = [](Parameter& p) { return p.trainable ? p.gradient_sum() : Tensor(); };
    run.layer_norm_weight_gradient(dy[0], x, mean, inv_std, sum_of(weight), sum_of(bias));
  };
  return x.graph().record(y, {"layer_norm", {x}, {&weight, &bias}, input_gradient, weight_gradient});
}

Variable l2_normalize(const Variable& x, float eps) {
  Kernels& run = kernels(x.value());
  const Tensor y = x.value().empty_like();
  const Tensor inv_norm = Tensor::empty({y.dim(0)}, DType::f32, y.device());
  run.l2_normalize(x.value(), eps, y, inv_norm);

  const auto input_gradient = [&run, y, inv_norm](const NodeGradients& gradients) {
    const Tensor dx = y.empty_like();
    run.l2_normalize_gradient(gradients.output(), y, inv_norm, dx);
    gradients.add(0, dx);
  };
  return x.graph().record(y, {"l2_normalize", {x}, {}, input_gradient, {}});
}

}  // namespace skymm
