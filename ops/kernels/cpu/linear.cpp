#include "core/error.hpp"
#include "ops/kernels/cpu/backend.hpp"
#include "ops/kernels/cpu/few_rows.hpp"
#include "ops/kernels/cpu/launch.hpp"
#include "ops/kernels/cpu/linear_weight.hpp"
#include "ops/kernels/cpu/panel_product.hpp"

namespace skymm {
namespace {

Epilogue epilogue_of(const Tensor& bias, Activation activation, bool accumulate) {
  Epilogue epilogue{.accumulate = accumulate, .activation = activation};
  if (bias.defined()) {
    epilogue.bias = bias.raw();
    epilogue.bias_dtype = bias.dtype();
  }
  return epilogue;
}

// matmul of x by a right operand (a Matrix or a PackedMatrix) that `keep` owns.
template <class Right, class Keep>
void enqueue(const Tensor& x, Right right, Keep keep, const Tensor& bias, Activation activation, const Tensor& y,
             bool accumulate) {
  launch(y, [=] {
    matmul(matrix_of(x, "linear", "x"), right(*keep), matrix_of(y, "linear", "y"),
           epilogue_of(bias, activation, accumulate));
  });
}

bool is_few(const Tensor& x) { return x.dim(0) <= most_few_rows; }

// The plain weight itself, seen again at every call.
class PlainWeight final : public CpuLinearWeight {
 public:
  explicit PlainWeight(const Tensor& weight) : weight_(std::make_shared<const Tensor>(weight)) {}
  std::size_t bytes() const override { return weight_->bytes(); }
  Tensor plain() const override { return *weight_; }

  void forward(const Tensor& x, const Tensor& bias, Activation activation, const Tensor& y,
               bool accumulate) const override {
    if (is_few(x)) {
      launch(y, [=, weight = weight_] {
        multiply_few(matrix_of(x, "linear", "x"), row_matrix_of(*weight, "linear", "weight"),
                     matrix_of(y, "linear", "y"), epilogue_of(bias, activation, accumulate));
      });
      return;
    }
    const auto right = [](const Tensor& w) { return matrix_of(w, "linear", "weight").transposed(); };
    enqueue(x, right, weight_, bias, activation, y, accumulate);
  }
  void input_gradient(const Tensor& dy, const Tensor& dx, bool accumulate) const override {
    const auto right = [](const Tensor& w) { return matrix_of(w, "linear", "weight"); };
    enqueue(dy, right, weight_, Tensor(), Activation::none, dx, accumulate);
  }

 private:
  std::shared_ptr<const Tensor> weight_;
};

class PackedWeight final : public CpuLinearWeight {
 public:
  PackedWeight(const Tensor& weight, bool both) {
    out = weight.dim(0);
    in = weight.dim(1);
    compute_dtype = weight.dtype();
    forward_ = std::make_shared<PackedMatrix>(in, out, compute_dtype);
    if (both && !forward_->is_plain()) gradient_ = std::make_shared<PackedMatrix>(out, in, compute_dtype);
    launch(weight, [weight, forward = forward_, gradient = gradient_] {
      const Matrix plain = matrix_of(weight, "make_linear_weight", "weight");
      forward->pack(plain.transposed());
      if (gradient != nullptr) gradient->pack(plain);
    });
  }

  std::size_t bytes() const override {
    return forward_->storage().bytes() + (gradient_ != nullptr ? gradient_->storage().bytes() : 0);
  }

  Tensor plain() const override {
    const Tensor weight = Tensor::empty({out, in}, compute_dtype, forward_->storage().device());
    launch(weight, [weight, forward = forward_] {
      forward->unpack(matrix_of(weight, "make_linear_weight", "weight").transposed());
    });
    return weight;
  }

  void forward(const Tensor& x, const Tensor& bias, Activation activation, const Tensor& y,
               bool accumulate) const override {
    if (is_few(x) && forward_->has_pairs()) {
      launch(y, [=, weight = forward_] {
        multiply_few(matrix_of(x, "linear", "x"), *weight, matrix_of(y, "linear", "y"),
                     epilogue_of(bias, activation, accumulate));
      });
      return;
    }
    const auto right = [](const PackedMatrix& w) -> const PackedMatrix& { return w; };
    enqueue(x, right, forward_, bias, activation, y, accumulate);
  }

  void input_gradient(const Tensor& dy, const Tensor& dx, bool accumulate) const override {
    if (gradient_ != nullptr) {
      const auto right = [](const PackedMatrix& w) -> const PackedMatrix& { return w; };
      enqueue(dy, right, gradient_, Tensor(), Activation::none, dx, accumulate);
    } else if (forward_->is_plain()) {
      const auto right = [](const PackedMatrix& w) { return w.as_plain().transposed(); };
      enqueue(dy, right, forward_, Tensor(), Activation::none, dx, accumulate);
    } else if (forward_->has_pairs()) {
      launch(dx, [=, dy = dy.contiguous(), weight = forward_] {
        multiply_panels(matrix_of(dy, "linear_input_gradient", "dy"), matrix_of(dx, "linear_input_gradient", "dx"),
                        {.accumulate = accumulate}, [&](std::int64_t begin, std::int64_t end, DType) {
                          return transposed_panel(*weight, begin, end);
                        });
      });
    } else {  // packed for forward only, in a layout of oneDNN's own: unpacked for this call
      const auto weight = std::make_shared<const Tensor>(plain());
      const auto right = [](const Tensor& w) { return matrix_of(w, "linear", "weight"); };
      enqueue(dy, right, weight, Tensor(), Activation::none, dx, accumulate);
    }
  }

 private:
  std::shared_ptr<PackedMatrix> forward_, gradient_;
};

const CpuLinearWeight& on_cpu(const LinearWeight& w, const char* primitive) {
  const auto* weight = dynamic_cast<const CpuLinearWeight*>(&w);
  check(weight != nullptr, "{}: the weight was made by another device's kernels; make it with kernels(x)", primitive);
  return *weight;
}

void check_product(const char* primitive, const Tensor& x, std::int64_t in, const Tensor& y, std::int64_t out,
                   const LinearWeight& w, const char* x_name, const char* y_name) {
  const Matrix mx = row_matrix_of(x, primitive, x_name), my = row_matrix_of(y, primitive, y_name);
  check(mx.cols == in && my.cols == out && mx.rows == my.rows,
        "{}: {} {} and {} {} do not fit a weight of {} outputs and {} inputs", primitive, x_name, x.shape().str(),
        y_name, y.shape().str(), w.out, w.in);
  check(x.dtype() == w.compute_dtype, "{}: {} is {} but the weight computes in {}", primitive, x_name,
        name_of(x.dtype()), name_of(w.compute_dtype));
  check(y.dtype() == x.dtype() || y.dtype() == DType::f32, "{}: {} is {}; it must be f32 or, as {}, {}", primitive,
        y_name, name_of(y.dtype()), x_name, name_of(x.dtype()));
}

}  // namespace

LinearWeightPtr CpuKernels::make_linear_weight(const Tensor& weight, Packing packing) {
  row_matrix_of(weight, "make_linear_weight", "weight");
  if (packing != Packing::none) return std::make_shared<PackedWeight>(weight, packing == Packing::both);
  auto plain = std::make_shared<PlainWeight>(weight);
  plain->out = weight.dim(0);
  plain->in = weight.dim(1);
  plain->compute_dtype = weight.dtype();
  return plain;
}

void CpuKernels::linear(const Tensor& x, const LinearWeight& w, const Tensor& bias, Activation activation, Tensor y,
                        bool accumulate) {
  check_product("linear", x, w.in, y, w.out, w, "x", "y");
  check(!accumulate || activation == Activation::none, "linear: an activation cannot be accumulated");
  if (bias.defined()) {
    check(bias.rank() == 1 && bias.dim(0) == w.out && (bias.stride(0) == 1 || w.out <= 1),
          "linear: bias has shape {}; it must be [{}], contiguous", bias.shape().str(), w.out);
    check(bias.dtype() == x.dtype() || bias.dtype() == DType::f32, "linear: bias is {}; it must be f32 or, as x, {}",
          name_of(bias.dtype()), name_of(x.dtype()));
  }
  if (y.numel() > 0) on_cpu(w, "linear").forward(x, bias, activation, y, accumulate);
}

void CpuKernels::linear_input_gradient(const Tensor& dy, const LinearWeight& w, Tensor dx, bool accumulate) {
  check_product("linear_input_gradient", dy, w.out, dx, w.in, w, "dy", "dx");
  if (dx.numel() > 0) on_cpu(w, "linear_input_gradient").input_gradient(dy, dx, accumulate);
}

void CpuKernels::linear_weight_gradient(const Tensor& dy, const Tensor& x, Tensor dw, float scale) {
  const char* const name = "linear_weight_gradient";
  const Matrix mdy = row_matrix_of(dy, name, "dy"), mx = row_matrix_of(x, name, "x"),
               mdw = row_matrix_of(dw, name, "dw");
  check(mdy.rows == mx.rows && mdw.rows == mdy.cols && mdw.cols == mx.cols,
        "linear_weight_gradient: dy {} and x {} do not give dw {}", dy.shape().str(), x.shape().str(),
        dw.shape().str());
  check(dy.dtype() == x.dtype() && dw.dtype() == DType::f32,
        "linear_weight_gradient: dy is {}, x {} and dw {}; the first two must agree and dw be f32", name_of(dy.dtype()),
        name_of(x.dtype()), name_of(dw.dtype()));
  if (dw.numel() == 0 || dy.dim(0) == 0) return;
  launch(dw, [=] {
    matmul(mdy.transposed(), mx, mdw, {.alpha = scale, .accumulate = true});
    static_cast<void>(dy), static_cast<void>(x), static_cast<void>(dw);
  });
}

}  // namespace skymm
