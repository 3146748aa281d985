#include "core/error.hpp"
#include "ops/kernels/cpu/backend.hpp"
#include "ops/kernels/cpu/few_rows.hpp"
#include "ops/kernels/cpu/launch.hpp"
#include "ops/kernels/cpu/linear_weight.hpp"
#include "ops/kernels/cpu/panel_product.hpp"

namespace skymm {
namespace {

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
  std::vector<Tensor> tensors() const override { return {*weight_}; }

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

  std::vector<Tensor> tensors() const override {
    std::vector<Tensor> copies{forward_->storage()};
    if (gradient_ != nullptr) copies.push_back(gradient_->storage());
    return copies;
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
  check_linear(x, w, bias, activation, y, accumulate);
  if (y.numel() > 0) on_cpu(w, "linear").forward(x, bias, activation, y, accumulate);
}

void CpuKernels::linear_input_gradient(const Tensor& dy, const LinearWeight& w, Tensor dx, bool accumulate) {
  check_linear_input_gradient(dy, w, dx);
  if (dx.numel() > 0) on_cpu(w, "linear_input_gradient").input_gradient(dy, dx, accumulate);
}

void CpuKernels::linear_weight_gradient(const Tensor& dy, const Tensor& x, Tensor dw, float scale) {
  const Product p = weight_gradient_product(dy, x, dw);
  if (dw.numel() == 0 || dy.dim(0) == 0) return;
  launch(dw, [=] {
    matmul(p.a, p.b, p.c, {.alpha = scale, .accumulate = true});
    static_cast<void>(dy), static_cast<void>(x), static_cast<void>(dw);
  });
}

}  // namespace skymm
