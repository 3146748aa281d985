#include "ops/kernels/arguments.hpp"

namespace skymm {

bool collapses_to_rows(const Tensor& x) {
  if (x.numel() == 0 || x.rank() == 0) return true;
  if (x.dim(-1) > 1 && x.stride(-1) != 1) return false;
  std::int64_t expected = 0;  // stride of the next dimension out; 0 while all dimensions inside have one element
  for (int i = x.rank() - 2; i >= 0; --i) {
    if (x.dim(i) == 1) continue;
    if (expected != 0 && x.stride(i) != expected) return false;
    expected = x.stride(i) * x.dim(i);
  }
  return true;
}

RowLayout::RowLayout(const Tensor& x) : count(0), width(width_of(x)), stride(width) {
  if (x.numel() > 0) count = x.numel() / width;
  for (int i = x.rank() - 2; i >= 0; --i) {
    if (x.dim(i) == 1) continue;
    stride = x.stride(i);
    break;
  }
}

void Arguments::that(bool ok, const char* name, const char* must) const {
  check(ok, "{}: {} must {}", primitive_, name, must);
}

void Arguments::on_device(const char* name, const Tensor& x) const {
  if (!x.defined()) fail("{}: {} is an undefined tensor", primitive_, name);
  if (device_ == nullptr) device_ = &x.device();
  if (device_ != &x.device())
    fail("{}: {} is on {}, the others on {}", primitive_, name, x.device().name(), device_->name());
}

void Arguments::rows(const char* name, const Tensor& x) const {
  on_device(name, x);
  if (!collapses_to_rows(x))
    fail("{}: {} {} must have the elements of a row adjacent and its rows at one stride; make it contiguous() first",
         primitive_, name, x.shape());
}

void Arguments::floating(const char* name, const Tensor& x) const {
  rows(name, x);
  is_floating(name, x);
}

void Arguments::heads(const char* name, const Tensor& x) const {
  on_device(name, x);
  is_floating(name, x);
  if (x.rank() != 3) fail("{}: {} {} must be [tokens, heads, width]", primitive_, name, x.shape());
  if (x.dim(2) > 1 && x.stride(2) != 1) fail("{}: {} must have the elements of a head adjacent", primitive_, name);
}

void Arguments::pixels(const char* name, const Tensor& x) const {
  on_device(name, x);
  is_floating(name, x);
  if (x.rank() != 4) fail("{}: {} {} must be [images, channels, height, width]", primitive_, name, x.shape());
  if (x.dim(3) > 1 && x.stride(3) != 1) fail("{}: {} must have the elements of a line adjacent", primitive_, name);
}

void Arguments::is_floating(const char* name, const Tensor& x) const {
  if (x.dtype() != DType::f32 && x.dtype() != DType::bf16)
    fail("{}: {} is {}, not f32 or bf16", primitive_, name, name_of(x.dtype()));
}

void Arguments::shaped(const char* name, const Tensor& x, const Shape& shape, DType dtype) const {
  rows(name, x);
  if (!(x.shape() == shape)) fail("{}: {} has the shape {} instead of {}", primitive_, name, x.shape(), shape);
  if (x.dtype() != dtype) fail("{}: {} is {} instead of {}", primitive_, name, name_of(x.dtype()), name_of(dtype));
}

void Arguments::like(const char* name, const Tensor& x, const Tensor& model) const {
  shaped(name, x, model.shape(), model.dtype());
}

void Arguments::block(const char* name, const Tensor& x, std::int64_t count, DType dtype) const {
  rows(name, x);
  if (x.numel() != count) fail("{}: {} {} must have {} elements", primitive_, name, x.shape(), count);
  if (x.dtype() != dtype) fail("{}: {} is {} instead of {}", primitive_, name, name_of(x.dtype()), name_of(dtype));
  if (!x.is_contiguous()) fail("{}: {} must be contiguous", primitive_, name);
}

}  // namespace skymm
