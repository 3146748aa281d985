#include "ops/functions/activation.hpp"

#include "core/error.hpp"

namespace skymm {

Variable activation(const Variable& x, Activation kind) {
  if (kind == Activation::none) return x;
  Kernels& run = kernels(x.value());
  const Tensor y = x.value().empty_like();
  run.activation(kind, x.value(), y);
  return x.graph().record(y, {.name = "activation",
                              .inputs = {x},
                              .input_gradient = [&run, kind, x = x.value()](const NodeGradients& gradients) {
                                const Tensor dx = x.empty_like();
                                run.activation_gradient(kind, x, gradients.output(), dx);
                                gradients.add(0, dx);
                              }});
}

Variable swiglu(const Variable& gate_up) {
  Kernels& run = kernels(gate_up.value());
  const Tensor& x = gate_up.value();
  const Tensor y = Tensor::empty({x.dim(0), x.dim(1) / 2}, x.dtype(), x.device());
  run.swiglu(x, y);
  return gate_up.graph().record(
      y, {.name = "swiglu", .inputs = {gate_up}, .input_gradient = [&run, x](const NodeGradients& gradients) {
            const Tensor dx = x.empty_like();
            run.swiglu_gradient(x, gradients.output(), dx);
            gradients.add(0, dx);
          }});
}

Variable dropout(const Variable& x, float p, const RandomKey& key, const Tensor& row_ids) {
  check(p >= 0.0F && p < 1.0F, "a dropout probability is in [0, 1); got {}", p);
  if (p == 0.0F) return x;
  Kernels& run = kernels(x.value());
  const Tensor y = x.value().empty_like();
  run.dropout(x.value(), p, key, row_ids, y);
  return x.graph().record(
      y, {.name = "dropout", .inputs = {x}, .input_gradient = [&run, p, key, row_ids](const NodeGradients& gradients) {
            const Tensor dx = gradients.output().empty_like();
            run.dropout(gradients.output(), p, key, row_ids, dx);  // the same zeros again
            gradients.add(0, dx);
          }});
}

Variable add(const Variable& x, const Variable& y) {
  const Tensor z = x.value().empty_like();
  if (x.graph().values_read()) kernels(z).add(x.value(), y.value(), z);
  return x.graph().record(z, {.name = "add", .inputs = {x, y}, .input_gradient = [](const NodeGradients& gradients) {
                                gradients.add(0, gradients.output());
                                gradients.add(1, gradients.output());
                              }});
}

Variable scale(const Variable& x, float factor) {
  Kernels& run = kernels(x.value());
  const Tensor y = x.value().empty_like();
  run.multiply(x.value(), {}, factor, y);
  return x.graph().record(
      y, {.name = "scale", .inputs = {x}, .input_gradient = [&run, factor](const NodeGradients& gradients) {
            const Tensor dx = gradients.output().empty_like();
            run.multiply(gradients.output(), {}, factor, dx);
            gradients.add(0, dx);
          }});
}

}  // namespace skymm
