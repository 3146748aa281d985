#include "ops/functions/norm.hpp"

#include "ops/kernels/kernels.hpp"

// How a differentiable function is written: compute the output with the kernels of the tensor's device, then hand it
// to graph.record() with the gradient beside it. record() keeps the node only if a gradient passes through; the two
// parts of a backward are separate closures, and each captures exactly the tensors that it will need.

namespace skymm {

Variable rms_norm(const Variable& x, Parameter& weight, float eps) {
  Kernels& run = kernels(x.value());
  const Tensor y = x.value().empty_like();
  const Tensor inv_rms = Tensor::empty({x.value().dim(0)}, DType::f32, y.device());
  run.rms_norm(x.value(), {}, weight.value, eps, y, inv_rms);

  return x.graph().record(y, {.name = "rms_norm",
                              .inputs = {x},
                              .parameters = {&weight},
                              .input_gradient =
                                  [&run, x = x.value(), w = weight.value, inv_rms](const NodeGradients& gradients) {
                                    const auto [dx, accumulate] = gradients.into(0, x.shape(), x);
                                    run.rms_norm_input_gradient(gradients.output(), x, w, inv_rms, dx, accumulate);
                                  },
                              .weight_gradient =
                                  [&run, x = x.value(), &weight, inv_rms](std::span<const Tensor> dy) {
                                    run.rms_norm_weight_gradient(dy[0], x, inv_rms, weight.gradient_sum());
                                  }});
}

ResidualNorm add_rms_norm(const Variable& x, const Variable& branch, Parameter& weight, float eps) {
  Kernels& run = kernels(x.value());
  const Tensor sum = branch.value();
  const Tensor y = sum.empty_like();
  const Tensor inv_rms = Tensor::empty({sum.dim(0)}, DType::f32, sum.device());
  run.rms_norm(sum, x.value(), weight.value, eps, y, inv_rms);

  // d sum = (its own gradient) + (the gradient through the norm); x and branch both get it.
  std::vector<Variable> outputs =
      x.graph().record({sum, y}, {.name = "add_rms_norm",
                                  .inputs = {x, branch},
                                  .parameters = {&weight},
                                  .input_gradient =
                                      [&run, sum, w = weight.value, inv_rms](const NodeGradients& gradients) {
                                        const Tensor& dsum = gradients.output(0);
                                        const Tensor& dy = gradients.output(1);
                                        const Tensor total = dsum.defined() ? dsum.clone() : sum.empty_like();
                                        if (dy.defined()) {
                                          run.rms_norm_input_gradient(dy, sum, w, inv_rms, total, dsum.defined());
                                        }
                                        gradients.add(0, total);
                                        gradients.add(1, total);
                                      },
                                  .weight_gradient =
                                      [&run, sum, &weight, inv_rms](std::span<const Tensor> dy) {
                                        if (dy[1].defined()) {
                                          run.rms_norm_weight_gradient(dy[1], sum, inv_rms, weight.gradient_sum());
                                        }
                                      }});
  return {outputs[0], outputs[1]};
}

Variable layer_norm(const Variable& x, Parameter& weight, Parameter& bias, float eps) {
  Kernels& run = kernels(x.value());
  const Tensor y = x.value().empty_like();
  const Tensor mean = Tensor::empty({y.dim(0)}, DType::f32, y.device());
  const Tensor inv_std = mean.empty_like();
  run.layer_norm(x.value(), weight.value, bias.value, eps, y, mean, inv_std);

  return x.graph().record(y,
                          {.name = "layer_norm",
                           .inputs = {x},
                           .parameters = {&weight, &bias},
                           .input_gradient =
                               [&run, x = x.value(), w = weight.value, mean, inv_std](const NodeGradients& gradients) {
                                 const auto [dx, accumulate] = gradients.into(0, x.shape(), x);
                                 run.layer_norm_input_gradient(gradients.output(), x, w, mean, inv_std, dx, accumulate);
                               },
                           .weight_gradient =
                               [&run, x = x.value(), &weight, &bias, mean, inv_std](std::span<const Tensor> dy) {
                                 run.layer_norm_weight_gradient(dy[0], x, mean, inv_std,
                                                                weight.trainable ? weight.gradient_sum() : Tensor(),
                                                                bias.trainable ? bias.gradient_sum() : Tensor());
                               }});
}

Variable l2_normalize(const Variable& x, float eps) {
  Kernels& run = kernels(x.value());
  const Tensor y = x.value().empty_like();
  const Tensor inv_norm = Tensor::empty({y.dim(0)}, DType::f32, y.device());
  run.l2_normalize(x.value(), eps, y, inv_norm);

  return x.graph().record(
      y, {.name = "l2_normalize", .inputs = {x}, .input_gradient = [&run, y, inv_norm](const NodeGradients& gradients) {
            const Tensor dx = y.empty_like();
            run.l2_normalize_gradient(gradients.output(), y, inv_norm, dx);
            gradients.add(0, dx);
          }});
}

}  // namespace skymm
