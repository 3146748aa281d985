#include "ops/functions/linear.hpp"

#include "core/error.hpp"
#include "ops/functions/activation.hpp"

namespace skymm {
namespace {

Tensor rows_as_matrix(const Tensor& x, std::int64_t in, std::int64_t first, std::int64_t count) {
  return x.view({x.numel() / in, in}).slice(0, first, first + count);
}

bool has_dropout(const LinearMaps& maps) {
  for (const LoraTerm& lora : maps.loras) {
    if (lora.dropout > 0) return true;
  }
  return false;
}

Tensor dropped(const Tensor& x, const LoraTerm& lora, const Tensor& row_ids) {
  if (lora.dropout == 0) return x;
  const Tensor y = x.empty_like();
  kernels(x).dropout(x, lora.dropout, lora.random, row_ids, y);
  return y;
}

// Calls f(lora, first column of its term, columns, first column of its rank in the low-rank activations, rank).
template <class F>
void for_each_lora(const LinearMaps& maps, const F& f) {
  std::int64_t column = 0, low = 0;
  for (const LinearTerm& term : maps.terms) {
    if (term.lora >= 0) {
      const LoraTerm& lora = maps.loras[static_cast<std::size_t>(term.lora)];
      f(lora, column, term.out, low, lora.a->shape[0]);
      low += lora.a->shape[0];
    }
    column += term.out;
  }
}

std::int64_t total_rank(const LinearMaps& maps) {
  std::int64_t rank = 0;
  for (const LoraTerm& lora : maps.loras) rank += lora.a->shape[0];
  return rank;
}

// low [T, sum of ranks]: dropout(x) A^T of every term; one product where they share x.
Tensor low_rank_activations(const Tensor& x, const LinearMaps& maps) {
  Kernels& run = kernels(x);
  const Tensor low = Tensor::empty({x.dim(0), total_rank(maps)}, x.dtype(), x.device());
  if (maps.lora_a.defined() && !has_dropout(maps)) {
    run.gemm(x, maps.lora_a, low, {.transpose_b = true});
    return low;
  }
  for_each_lora(maps, [&](const LoraTerm& lora, std::int64_t, std::int64_t, std::int64_t first, std::int64_t rank) {
    run.gemm(dropped(x, lora, maps.row_ids), lora.a->value, low.slice(1, first, first + rank), {.transpose_b = true});
  });
  return low;
}

// dlow [T, sum of ranks]: scaling dy B of every term.
Tensor low_rank_gradients(const Tensor& dy, const LinearMaps& maps) {
  const Tensor dlow = Tensor::empty({dy.dim(0), total_rank(maps)}, dy.dtype(), dy.device());
  for_each_lora(maps, [&](const LoraTerm& lora, std::int64_t column, std::int64_t columns, std::int64_t first,
                          std::int64_t rank) {
    kernels(dy).gemm(dy.slice(1, column, column + columns), lora.b->value, dlow.slice(1, first, first + rank),
                     {.alpha = lora.scaling});
  });
  return dlow;
}

// dx += sum of dropout'(dlow A)
void add_low_rank_input_gradient(const Tensor& dlow, const LinearMaps& maps, const Tensor& dx) {
  Kernels& run = kernels(dx);
  if (maps.lora_a.defined() && !has_dropout(maps)) {
    run.gemm(dlow, maps.lora_a, dx, {.accumulate = true});
    return;
  }
  for_each_lora(maps, [&](const LoraTerm& lora, std::int64_t, std::int64_t, std::int64_t first, std::int64_t rank) {
    const Tensor part = dlow.slice(1, first, first + rank);
    if (lora.dropout == 0) {
      run.gemm(part, lora.a->value, dx, {.accumulate = true});
    } else {
      const Tensor dense = dx.empty_like();
      run.gemm(part, lora.a->value, dense);
      dx.add(dropped(dense, lora, maps.row_ids));
    }
  });
}

void add_lora_weight_gradients(const Tensor& dy, const Tensor& x, const Tensor& low, const Tensor& dlow,
                               const LinearMaps& maps) {
  Kernels& run = kernels(x);
  for_each_lora(maps, [&](const LoraTerm& lora, std::int64_t column, std::int64_t columns, std::int64_t first,
                          std::int64_t rank) {
    if (lora.b->trainable) {
      run.linear_weight_gradient(dy.slice(1, column, column + columns), low.slice(1, first, first + rank),
                                 lora.b->gradient_sum(), lora.scaling);
    }
    if (lora.a->trainable) {
      run.linear_weight_gradient(dlow.slice(1, first, first + rank), dropped(x, lora, maps.row_ids),
                                 lora.a->gradient_sum());
    }
  });
}

void add_base_weight_gradients(const Tensor& dy, const Tensor& x, const LinearMaps& maps) {
  Kernels& run = kernels(x);
  std::int64_t column = 0;
  for (const LinearTerm& term : maps.terms) {
    const Tensor part = dy.slice(1, column, column + term.out);
    if (term.weight != nullptr && term.weight->trainable) {
      run.linear_weight_gradient(part, x,
                                 rows_as_matrix(term.weight->gradient_sum(), x.dim(1), term.first_row, term.out));
    }
    if (term.bias != nullptr && term.bias->trainable) {
      run.sum_rows(part, rows_as_matrix(term.bias->gradient_sum(), 1, term.first_row, term.out).view({1, term.out}));
    }
    column += term.out;
  }
}

std::vector<Parameter*> parameters_of(const LinearMaps& maps) {
  std::vector<Parameter*> all;
  for (const LinearTerm& term : maps.terms) {
    for (Parameter* parameter : {term.weight, term.bias}) {
      if (parameter != nullptr) all.push_back(parameter);
    }
  }
  for (const LoraTerm& lora : maps.loras) {
    all.push_back(lora.a);
    all.push_back(lora.b);
  }
  return all;
}

bool any_trainable(const LinearMaps& maps, bool loras) {
  if (loras) {
    for (const LoraTerm& lora : maps.loras) {
      if (lora.a->trainable || lora.b->trainable) return true;
    }
    return false;
  }
  for (const LinearTerm& term : maps.terms) {
    if ((term.weight != nullptr && term.weight->trainable) || (term.bias != nullptr && term.bias->trainable)) {
      return true;
    }
  }
  return false;
}

// What a product's gradient keeps of its input: the input itself, or what it is cheaply made of.
struct SavedInput {
  Tensor tensor;
  bool swiglu = false;  // the input is swiglu(tensor)

  Tensor value() const { return swiglu ? swiglu_of(tensor) : tensor; }
  static Tensor swiglu_of(const Tensor& gate_up) {
    const Tensor y = Tensor::empty({gate_up.dim(0), gate_up.dim(1) / 2}, gate_up.dtype(), gate_up.device());
    kernels(gate_up).swiglu(gate_up, y);
    return y;
  }
};

Node linear_node(const Variable& from, bool swiglu, const LinearMaps& maps, const Tensor& low) {
  // What the weight part needs of the input part: computed once, by whichever comes first.
  auto shared = std::make_shared<Tensor>();
  const auto dlow_of = [shared, maps](const Tensor& dy) {
    if (!shared->defined()) *shared = low_rank_gradients(dy, maps);
    return *shared;
  };
  const bool base = any_trainable(maps, false), lora = any_trainable(maps, true);
  const SavedInput saved{base || lora || swiglu ? from.value() : Tensor(), swiglu};
  const auto add_input_gradient = [maps, dlow_of](const Tensor& dy, const Tensor& dx, bool accumulate) {
    kernels(dy).linear_input_gradient(dy, *maps.weight, dx, accumulate);
    if (!maps.loras.empty()) add_low_rank_input_gradient(dlow_of(dy), maps, dx);
  };
  Node node{"linear", {from}, parameters_of(maps), {}, {}};
  if (swiglu) {
    node.input_gradient = [add_input_gradient, in = maps.weight->in,
                           gate_up = from.value()](const NodeGradients& gradients) {
      const Tensor& dy = gradients.output();
      const Tensor dx = Tensor::empty({dy.dim(0), in}, dy.dtype(), dy.device());
      add_input_gradient(dy, dx, false);
      const Tensor dgate_up = gate_up.empty_like();
      kernels(dy).swiglu_gradient(gate_up, dx, dgate_up);
      gradients.add(0, dgate_up);
    };
  } else {
    node.input_gradient = [add_input_gradient, in = maps.weight->in](const NodeGradients& gradients) {
      const Tensor& dy = gradients.output();
      const auto [dx, accumulate] = gradients.into(0, {dy.dim(0), in}, dy);
      add_input_gradient(dy, dx, accumulate);
    };
  }
  node.weight_gradient = [maps, dlow_of, low, base, lora, saved](std::span<const Tensor> dy) {
    const Tensor x = saved.value();
    if (base) add_base_weight_gradients(dy[0], x, maps);
    if (lora) add_lora_weight_gradients(dy[0], x, low, dlow_of(dy[0]), maps);
  };
  return node;
}

// y with its node, where it needs one: in generation, where it needs none, making it would cost as much as a product.
Variable recorded(const Tensor& y, const Variable& from, bool swiglu, const LinearMaps& maps, const Tensor& low) {
  Graph& graph = from.graph();
  const std::vector<Parameter*> parameters = parameters_of(maps);
  if (!graph.needs_node(std::span(&from, 1), parameters) && !graph.will_run_again()) return graph.constant(y);
  return graph.record(y, linear_node(from, swiglu, maps, low));
}

// y (+)= x W^T + b + the low-rank terms; returns the low-rank activations. y undefined: these alone.
Tensor compute(const Tensor& x, const LinearMaps& maps, Activation activation, const Tensor& y, bool accumulate) {
  Kernels& run = kernels(x);
  if (y.defined()) run.linear(x, *maps.weight, maps.bias, activation, y, accumulate);
  if (maps.loras.empty()) return {};
  const Tensor low = low_rank_activations(x, maps);
  if (!y.defined()) return low;
  for_each_lora(maps, [&](const LoraTerm& lora, std::int64_t column, std::int64_t columns, std::int64_t first,
                          std::int64_t rank) {
    run.gemm(low.slice(1, first, first + rank), lora.b->value, y.slice(1, column, column + columns),
             {.transpose_b = true, .accumulate = true, .alpha = lora.scaling});
  });
  return low;
}

}  // namespace

Variable linear(const Variable& x, const LinearMaps& maps, Activation kind) {
  const Tensor& in = x.value();
  check(in.rank() == 2 && in.dim(1) == maps.weight->in, "linear: the input has shape {}, its rows should be {} wide",
        in.shape(), maps.weight->in);
  Graph& graph = x.graph();
  const Tensor y = Tensor::empty({in.dim(0), maps.weight->out}, in.dtype(), in.device());
  // The activation's own gradient needs what comes before it, so that only without a graph the product ends in it.
  const std::vector<Parameter*> parameters = parameters_of(maps);
  const bool apart = !maps.loras.empty() || graph.needs_node(std::span(&x, 1), parameters);
  const bool read = graph.values_read() || kind != Activation::none;
  const Tensor low = compute(in, maps, apart ? Activation::none : kind, read ? y : Tensor(), false);
  Variable out = recorded(y, x, false, maps, low);
  return apart ? activation(out, kind) : out;
}

Variable patch_embedding(const Variable& pixels, std::int64_t patch, const LinearMaps& maps) {
  const Tensor& in = pixels.value();
  check(in.rank() == 4 && !pixels.needs_gradient(),
        "patch_embedding: pixels must be [images, channels, height, width]; "
        "no gradient passes to them");
  Graph& graph = pixels.graph();
  const std::int64_t rows = in.dim(0) * (in.dim(2) / patch) * (in.dim(3) / patch);
  if (maps.loras.empty() && !graph.needs_node(std::span(&pixels, 1), parameters_of(maps))) {
    const Tensor y = Tensor::empty({rows, maps.weight->out}, in.dtype(), in.device());
    kernels(in).patch_embedding(in, patch, *maps.weight, maps.bias, y);
    return graph.constant(y);
  }
  const Tensor patches = Tensor::empty({rows, maps.weight->in}, in.dtype(), in.device());
  kernels(in).extract_patches(in, patch, patches);
  return linear(graph.constant(patches), maps);
}

Variable swiglu_linear(const Variable& gate_up, const LinearMaps& maps) {
  const Tensor x = SavedInput::swiglu_of(gate_up.value());
  check(x.dim(1) == maps.weight->in, "swiglu_linear: the input has shape {}, its rows should be {} wide",
        gate_up.value().shape(), 2 * maps.weight->in);
  const Tensor y = Tensor::empty({x.dim(0), maps.weight->out}, x.dtype(), x.device());
  const Tensor low = compute(x, maps, Activation::none, gate_up.graph().values_read() ? y : Tensor(), false);
  return recorded(y, gate_up, true, maps, low);
}

Variable add_linear(const Variable& residual, const Variable& x, const LinearMaps& maps) {
  Graph& graph = x.graph();
  const std::vector<Parameter*> parameters = parameters_of(maps);
  if (residual.needs_gradient() || graph.needs_node(std::span(&x, 1), parameters) || graph.will_run_again()) {
    return add(residual, linear(x, maps));
  }
  compute(x.value(), maps, Activation::none, residual.value(), true);
  return residual;
}

Variable matmul(const Variable& x, Parameter& matrix) {
  const Tensor y = Tensor::empty({x.value().dim(0), matrix.shape[1]}, x.value().dtype(), x.value().device());
  kernels(y).gemm(x.value(), matrix.value, y);
  return x.graph().record(y, {.name = "matmul",
                              .inputs = {x},
                              .parameters = {&matrix},
                              .input_gradient =
                                  [m = matrix.value](const NodeGradients& gradients) {
                                    const Tensor& dy = gradients.output();
                                    const auto [dx, accumulate] = gradients.into(0, {dy.dim(0), m.dim(0)}, dy);
                                    kernels(dy).gemm(dy, m, dx, {.transpose_b = true, .accumulate = accumulate});
                                  },
                              .weight_gradient =
                                  [&matrix, x = x.value()](std::span<const Tensor> dy) {
                                    kernels(x).linear_weight_gradient(x, dy[0], matrix.gradient_sum());
                                  }});
}

Variable matmul_transposed(const Variable& x, const Variable& y, float factor) {
  const Tensor z = Tensor::empty({x.value().dim(0), y.value().dim(0)}, x.value().dtype(), x.value().device());
  kernels(z).gemm(x.value(), y.value(), z, {.transpose_b = true, .alpha = factor});
  return x.graph().record(z, {.name = "matmul_transposed",
                              .inputs = {x, y},
                              .input_gradient = [x = x.value(), y = y.value(), factor](const NodeGradients& gradients) {
                                const Tensor& dz = gradients.output();
                                if (const auto [dx, accumulate] = gradients.into(0, x.shape(), x); dx.defined()) {
                                  kernels(dz).gemm(dz, y, dx, {.accumulate = accumulate, .alpha = factor});
                                }
                                if (const auto [dy, accumulate] = gradients.into(1, y.shape(), y); dy.defined()) {
                                  kernels(dz).gemm(dz, x, dy,
                                                   {.transpose_a = true, .accumulate = accumulate, .alpha = factor});
                                }
                              }});
}

}  // namespace skymm
