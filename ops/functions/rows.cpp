#include "ops/functions/rows.hpp"

#include <vector>

#include "core/error.hpp"
#include "ops/kernels/kernels.hpp"

namespace skymm {
namespace {

Tensor rows_of(std::int64_t count, const Tensor& like) {
  return Tensor::empty({count, like.dim(1)}, like.dtype(), like.device());
}

}  // namespace

Variable use(Graph& graph, Parameter& parameter, const Shape& shape) {
  return graph.record(
      parameter.value.view(shape),
      {.name = "use", .parameters = {&parameter}, .weight_gradient = [&parameter](std::span<const Tensor> dy) {
         parameter.gradient_sum().add(dy[0].view(parameter.shape));
       }});
}

Variable embedding(Graph& graph, Parameter& table, const Tensor& rows) {
  const Tensor y = rows_of(rows.dim(0), table.value);
  kernels(y).gather_rows(table.value, rows, y);
  return graph.record(
      y, {.name = "embedding", .parameters = {&table}, .weight_gradient = [&table, rows](std::span<const Tensor> dy) {
            kernels(dy[0]).scatter_add_rows(dy[0], rows, table.gradient_sum());
          }});
}

Variable gather_rows(const Variable& x, const Tensor& rows) {
  const Tensor y = rows_of(rows.dim(0), x.value());
  kernels(y).gather_rows(x.value(), rows, y);
  return x.graph().record(y, {.name = "gather_rows",
                              .inputs = {x},
                              .input_gradient = [rows, shape = x.value().shape()](const NodeGradients& gradients) {
                                const Tensor& dy = gradients.output();
                                const Tensor dx = Tensor::zeros(shape, dy.dtype(), dy.device());
                                kernels(dy).scatter_rows(dy, rows, dx);
                                gradients.add(0, dx);
                              }});
}

Variable spread_rows(const Variable& x, const Tensor& rows, std::int64_t total) {
  const Tensor y = Tensor::zeros({total, x.value().dim(1)}, x.value().dtype(), x.value().device());
  kernels(y).scatter_rows(x.value(), rows, y);
  return x.graph().record(
      y, {.name = "spread_rows", .inputs = {x}, .input_gradient = [rows](const NodeGradients& gradients) {
            const Tensor& dy = gradients.output();
            const Tensor dx = rows_of(rows.dim(0), dy);
            kernels(dy).gather_rows(dy, rows, dx);
            gradients.add(0, dx);
          }});
}

Variable splice(const Variable& x, const Variable& patch, const Tensor& rows) {
  check(patch.value().dim(0) == rows.dim(0), "splice: {} rows are to take the place of {}", patch.value().dim(0),
        rows.dim(0));
  kernels(x.value()).scatter_rows(patch.value(), rows, x.value());
  return x.graph().record(
      x.value(), {.name = "splice", .inputs = {x, patch}, .input_gradient = [rows](const NodeGradients& gradients) {
                    const Tensor& dy = gradients.output();
                    if (gradients.needs(1)) {
                      const Tensor dpatch = rows_of(rows.dim(0), dy);
                      kernels(dy).gather_rows(dy, rows, dpatch);
                      gradients.add(1, dpatch);
                    }
                    if (gradients.needs(0)) {  // nothing of the rows that were replaced
                      const Tensor dx = dy.clone();
                      const Tensor none = Tensor::zeros({rows.dim(0), dy.dim(1)}, dy.dtype(), dy.device());
                      kernels(dy).scatter_rows(none, rows, dx);
                      gradients.add(0, dx);
                    }
                  }});
}

Variable repeat_rows(const Variable& x, std::int64_t times) {
  const std::int64_t n = x.value().dim(0);
  std::vector<std::int32_t> rows(static_cast<std::size_t>(n * times));
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::int32_t>(i % static_cast<std::size_t>(n));
  const Tensor y = rows_of(n * times, x.value());
  kernels(y).gather_rows(x.value(), Tensor::from(rows, {n * times}, y.device()), y);
  return x.graph().record(y,
                          {.name = "repeat_rows", .inputs = {x}, .input_gradient = [n](const NodeGradients& gradients) {
                             const Tensor& dy = gradients.output();
                             const Tensor sum = Tensor::zeros({n, dy.dim(1)}, DType::f32, dy.device());
                             kernels(dy).sum_rows(dy, sum);
                             gradients.add(0, sum.to(dy.dtype()));
                           }});
}

Variable slice_columns(const Variable& x, std::int64_t begin, std::int64_t end) {
  return x.graph().record(x.value().slice(1, begin, end),
                          {.name = "slice_columns",
                           .inputs = {x},
                           .input_gradient = [shape = x.value().shape(), begin, end](const NodeGradients& gradients) {
                             const Tensor& dy = gradients.output();
                             const Tensor dx = Tensor::zeros(shape, dy.dtype(), dy.device());
                             dx.slice(1, begin, end).copy_from(dy);
                             gradients.add(0, dx);
                           }});
}

Variable add_rows(const Variable& x, Parameter& table) {
  const Tensor y = x.value().empty_like();
  kernels(y).add_rows(x.value(), table.value, y);
  return x.graph().record(
      y, {.name = "add_rows",
          .inputs = {x},
          .parameters = {&table},
          .input_gradient = [](const NodeGradients& gradients) { gradients.add(0, gradients.output()); },
          .weight_gradient =
              [&table](std::span<const Tensor> dy) { kernels(dy[0]).sum_rows(dy[0], table.gradient_sum()); }});
}

Variable add_rows(const Variable& x, const Tensor& table) {
  const Tensor y = x.value().empty_like();
  kernels(y).add_rows(x.value(), table, y);
  return x.graph().record(y, {.name = "add_rows", .inputs = {x}, .input_gradient = [](const NodeGradients& gradients) {
                                gradients.add(0, gradients.output());
                              }});
}

Variable mix_rows(const Tensor& matrix, const Variable& x) {
  const Tensor y = rows_of(matrix.dim(0), x.value());
  kernels(y).gemm(matrix, x.value(), y);
  return x.graph().record(
      y, {.name = "mix_rows", .inputs = {x}, .input_gradient = [matrix](const NodeGradients& gradients) {
            const auto [dx, accumulate] =
                gradients.into(0, {matrix.dim(1), gradients.output().dim(1)}, gradients.output());
            kernels(dx).gemm(matrix, gradients.output(), dx, {.transpose_a = true, .accumulate = accumulate});
          }});
}

}  // namespace skymm
