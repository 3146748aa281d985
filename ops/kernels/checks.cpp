#include "ops/kernels/checks.hpp"

#include "ops/kernels/arguments.hpp"

namespace skymm {

void check_layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& y, const Tensor& mean,
                      const Tensor& inv_std) {
  const Arguments arguments("layer_norm");
  arguments.floating("x", x);
  if (weight.defined()) arguments.block("weight", weight, width_of(x), x.dtype());
  if (bias.defined()) arguments.block("bias", bias, width_of(x), x.dtype());
  arguments.like("y", y, x);
  arguments.block("mean", mean, rows_of(x), DType::f32);
  arguments.block("inv_std", inv_std, rows_of(x), DType::f32);
}

void check_layer_norm_input_gradient(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& mean,
                                     const Tensor& inv_std, const Tensor& dx) {
  const Arguments arguments("layer_norm_input_gradient");
  arguments.floating("x", x);
  arguments.like("dy", dy, x);
  if (weight.defined()) arguments.block("weight", weight, width_of(x), x.dtype());
  arguments.block("mean", mean, rows_of(x), DType::f32);
  arguments.block("inv_std", inv_std, rows_of(x), DType::f32);
  arguments.like("dx", dx, x);
}

void check_layer_norm_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& mean, const Tensor& inv_std,
                                      const Tensor& dweight, const Tensor& dbias) {
  const Arguments arguments("layer_norm_weight_gradient");
  arguments.floating("x", x);
  arguments.like("dy", dy, x);
  arguments.block("mean", mean, rows_of(x), DType::f32);
  arguments.block("inv_std", inv_std, rows_of(x), DType::f32);
  if (dweight.defined()) arguments.block("dweight", dweight, width_of(x), DType::f32);
  if (dbias.defined()) arguments.block("dbias", dbias, width_of(x), DType::f32);
}

void check_rms_norm(const Tensor& x, const Tensor& residual, const Tensor& weight, const Tensor& y,
                    const Tensor& inv_rms) {
  const Arguments arguments("rms_norm");
  arguments.floating("x", x);
  if (residual.defined()) arguments.like("residual", residual, x);
  arguments.block("weight", weight, width_of(x), x.dtype());
  arguments.like("y", y, x);
  arguments.block("inv_rms", inv_rms, rows_of(x), DType::f32);
}

void check_rms_norm_input_gradient(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& inv_rms,
                                   const Tensor& dx) {
  const Arguments arguments("rms_norm_input_gradient");
  arguments.floating("x", x);
  arguments.like("dy", dy, x);
  arguments.block("weight", weight, width_of(x), x.dtype());
  arguments.block("inv_rms", inv_rms, rows_of(x), DType::f32);
  arguments.like("dx", dx, x);
}

void check_rms_norm_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& inv_rms, const Tensor& dweight) {
  const Arguments arguments("rms_norm_weight_gradient");
  arguments.floating("x", x);
  arguments.like("dy", dy, x);
  arguments.block("inv_rms", inv_rms, rows_of(x), DType::f32);
  arguments.block("dweight", dweight, width_of(x), DType::f32);
}

void check_l2_normalize(const Tensor& x, const Tensor& y, const Tensor& inv_norm) {
  const Arguments arguments("l2_normalize");
  arguments.floating("x", x);
  arguments.like("y", y, x);
  arguments.block("inv_norm", inv_norm, rows_of(x), DType::f32);
}

void check_l2_normalize_gradient(const Tensor& dy, const Tensor& y, const Tensor& inv_norm, const Tensor& dx) {
  const Arguments arguments("l2_normalize_gradient");
  arguments.floating("y", y);
  arguments.like("dy", dy, y);
  arguments.block("inv_norm", inv_norm, rows_of(y), DType::f32);
  arguments.like("dx", dx, y);
}

void check_activation(const Tensor& x, const Tensor& y) {
  const Arguments arguments("activation");
  arguments.floating("x", x);
  arguments.like("y", y, x);
}

void check_activation_gradient(const Tensor& x, const Tensor& dy, const Tensor& dx) {
  const Arguments arguments("activation_gradient");
  arguments.floating("x", x);
  arguments.like("dy", dy, x);
  arguments.like("dx", dx, x);
}

namespace {

// gate_up [T, 2 F] beside one [T, F]
void check_halves(const Arguments& arguments, const Tensor& gate_up, const char* name, const Tensor& one) {
  arguments.floating("gate_up", gate_up);
  arguments.that(gate_up.rank() > 0 && gate_up.dim(-1) % 2 == 0, "gate_up", "have an even width, [gate | up]");
  Shape half = gate_up.shape();
  half[half.rank() - 1] /= 2;
  arguments.shaped(name, one, half, gate_up.dtype());
}

}  // namespace

void check_swiglu(const Tensor& gate_up, const Tensor& y) { check_halves(Arguments("swiglu"), gate_up, "y", y); }

void check_swiglu_gradient(const Tensor& gate_up, const Tensor& dy, const Tensor& dgate_up) {
  const Arguments arguments("swiglu_gradient");
  check_halves(arguments, gate_up, "dy", dy);
  arguments.like("dgate_up", dgate_up, gate_up);
}

void check_add(const Tensor& x, const Tensor& y, const Tensor& z) {
  const Arguments arguments("add");
  arguments.floating("x", x);
  arguments.like("y", y, x);
  arguments.like("z", z, x);
}

void check_multiply(const Tensor& x, const Tensor& y, const Tensor& z) {
  const Arguments arguments("multiply");
  arguments.floating("x", x);
  if (y.defined()) arguments.like("y", y, x);
  arguments.like("z", z, x);
}

void check_add_rows(const Tensor& x, const Tensor& table, const Tensor& y) {
  const Arguments arguments("add_rows");
  arguments.floating("x", x);
  arguments.floating("table", table);
  arguments.that(table.dtype() == x.dtype(), "table", "have x's dtype");
  arguments.that(width_of(table) == width_of(x), "table", "be as wide as x");
  arguments.that(rows_of(table) > 0 || rows_of(x) == 0, "table", "have rows");
  arguments.like("y", y, x);
}

void check_sum_rows(const Tensor& dy, const Tensor& dtable) {
  const Arguments arguments("sum_rows");
  arguments.floating("dy", dy);
  arguments.floating("dtable", dtable);
  arguments.that(dtable.dtype() == DType::f32, "dtable", "be f32");
  arguments.that(width_of(dtable) == width_of(dy), "dtable", "be as wide as dy");
  arguments.that(rows_of(dtable) > 0 || rows_of(dy) == 0, "dtable", "have rows");
}

void check_dropout(const Tensor& x, float p, const Tensor& row_ids, const Tensor& y) {
  const Arguments arguments("dropout");
  arguments.floating("x", x);
  if (!(p >= 0 && p < 1)) fail("dropout: p is {}; it must be at least 0 and below 1", p);
  arguments.block("row_ids", row_ids, 2 * rows_of(x), DType::i32);
  arguments.like("y", y, x);
}

void check_rotary_embedding(const Tensor& x, const Tensor& positions, const Tensor& y) {
  const Arguments arguments("rotary_embedding");
  arguments.heads("x", x);
  arguments.that(x.dim(2) % 2 == 0, "x", "have heads of an even width");
  arguments.heads("y", y);
  arguments.that(y.shape() == x.shape() && y.dtype() == x.dtype(), "y", "have x's shape and dtype");
  arguments.block("positions", positions, x.dim(0), DType::i32);
}

void check_softmax(const Tensor& x, const Tensor& y) {
  const Arguments arguments("softmax");
  arguments.floating("x", x);
  arguments.like("y", y, x);
}

void check_softmax_gradient(const Tensor& y, const Tensor& dy, const Tensor& dx) {
  const Arguments arguments("softmax_gradient");
  arguments.floating("y", y);
  arguments.like("dy", dy, y);
  arguments.like("dx", dx, y);
}

void check_cross_entropy(const Tensor& logits, const Tensor& labels, const Tensor& losses, const Tensor& logsumexp) {
  const Arguments arguments("cross_entropy");
  arguments.floating("logits", logits);
  arguments.that(width_of(logits) > 0, "logits", "have columns");
  arguments.block("labels", labels, rows_of(logits), DType::i32);
  arguments.block("losses", losses, rows_of(logits), DType::f32);
  arguments.block("logsumexp", logsumexp, rows_of(logits), DType::f32);
}

void check_cross_entropy_gradient(const Tensor& logits, const Tensor& labels, const Tensor& logsumexp,
                                  const Tensor& dlogits) {
  const Arguments arguments("cross_entropy_gradient");
  arguments.floating("logits", logits);
  arguments.block("labels", labels, rows_of(logits), DType::i32);
  arguments.block("logsumexp", logsumexp, rows_of(logits), DType::f32);
  arguments.like("dlogits", dlogits, logits);
}

void check_argmax(const Tensor& x, const Tensor& best) {
  const Arguments arguments("argmax");
  arguments.floating("x", x);
  arguments.that(width_of(x) > 0, "x", "have columns");
  arguments.block("best", best, rows_of(x), DType::i32);
}

void check_gather_rows(const Tensor& x, const Tensor& rows, const Tensor& y) {
  const Arguments arguments("gather_rows");
  arguments.rows("x", x);
  arguments.rows("y", y);
  arguments.that(y.dtype() == x.dtype() && width_of(y) == width_of(x), "y", "have x's dtype and width");
  arguments.block("rows", rows, rows_of(y), DType::i32);
}

void check_scatter_rows(const Tensor& x, const Tensor& rows, const Tensor& y) {
  const Arguments arguments("scatter_rows");
  arguments.rows("x", x);
  arguments.rows("y", y);
  arguments.that(y.dtype() == x.dtype() && width_of(y) == width_of(x), "y", "have x's dtype and width");
  arguments.block("rows", rows, rows_of(x), DType::i32);
}

void check_scatter_add_rows(const Tensor& x, const Tensor& rows, const Tensor& y) {
  const Arguments arguments("scatter_add_rows");
  arguments.floating("x", x);
  arguments.floating("y", y);
  arguments.that(y.dtype() == DType::f32 && width_of(y) == width_of(x), "y", "be f32 and as wide as x");
  arguments.block("rows", rows, rows_of(x), DType::i32);
}

void check_extract_patches(const Tensor& pixels, std::int64_t patch, const Tensor& y) {
  const Arguments arguments("extract_patches");
  arguments.pixels("pixels", pixels);
  arguments.that(patch > 0 && pixels.dim(2) % patch == 0 && pixels.dim(3) % patch == 0, "pixels",
                 "have sides that are multiples of the patch");
  const std::int64_t count = pixels.dim(0) * (pixels.dim(2) / patch) * (pixels.dim(3) / patch);
  arguments.shaped("y", y, {count, pixels.dim(1) * patch * patch}, pixels.dtype());
}

void check_patch_embedding(const Tensor& pixels, std::int64_t patch, const LinearWeight& w, const Tensor& bias,
                           const Tensor& y) {
  const Arguments arguments("patch_embedding");
  arguments.pixels("pixels", pixels);
  arguments.that(patch > 0 && pixels.dim(2) % patch == 0 && pixels.dim(3) % patch == 0, "pixels",
                 "have sides that are multiples of the patch");
  arguments.that(w.in == pixels.dim(1) * patch * patch && w.compute_dtype == pixels.dtype(), "pixels",
                 "be as the weight's rows are");
  const std::int64_t count = pixels.dim(0) * (pixels.dim(2) / patch) * (pixels.dim(3) / patch);
  arguments.shaped("y", y, {count, w.out}, pixels.dtype());
  if (bias.defined()) arguments.that(bias.shape() == Shape({w.out}), "bias", "have an element a column of y");
}

void check_sum(const Tensor& x, const Tensor& out) {
  const Arguments arguments("sum");
  arguments.floating("x", x);
  arguments.block("out", out, 1, DType::f64);
}

void check_sum_of_squares(std::span<const Tensor> xs, std::span<const Tensor> outs) {
  const Arguments arguments("sum_of_squares");
  check(xs.size() == outs.size(), "sum_of_squares: {} tensors have {} places for their sums", xs.size(), outs.size());
  for (std::size_t i = 0; i < xs.size(); ++i) {
    arguments.floating("x", xs[i]);
    arguments.that(xs[i].dtype() == xs[0].dtype(), "x", "have the dtype of the others in the list");
    arguments.block("out", outs[i], 1, DType::f64);
  }
}

void check_count_non_finite(const Tensor& x, const Tensor& count) {
  const Arguments arguments("count_non_finite");
  arguments.floating("x", x);
  arguments.block("count", count, 1, DType::i32);
}

void check_adamw(std::span<const AdamWTensors> tensors, const AdamW& options) {
  const Arguments arguments("adamw");
  for (const auto& [master, m, v, gradient, value, decays] : tensors) {
    arguments.floating("master", master);
    const std::int64_t n = master.numel();
    arguments.block("master", master, n, DType::f32);
    arguments.block("m", m, n, DType::f32);
    arguments.block("v", v, n, DType::f32);
    arguments.block("gradient", gradient, n, DType::f32);
    if (value.defined()) {
      arguments.floating("value", value);
      arguments.block("value", value, n, value.dtype());
    }
  }
  if (options.step < 1) fail("adamw: step is {}; steps count from 1", options.step);
}

}  // namespace skymm
