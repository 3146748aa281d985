#include "core/tensor.hpp"

#include "core/error.hpp"

namespace skymm {
namespace {

std::array<std::int64_t, Shape::max_rank> row_major(const Shape& shape) {
  std::array<std::int64_t, Shape::max_rank> strides{};
  std::int64_t step = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    strides[i] = step;
    step *= shape[i];
  }
  return strides;
}

// Contiguous `to` = from, of the same shape and dtype but on another device. A third device's bytes go by the CPU.
void transfer(const Tensor& from, const Tensor& to) {
  const Tensor source = from.contiguous();
  current_stream(cpu()).synchronize();  // host memory is read or written at once: queued work may still be using it
  if (&from.device() == &cpu()) {
    to.device().from_host(source.raw(), to);
  } else if (&to.device() == &cpu()) {
    from.device().to_host(source, to.raw());
  } else {
    transfer(source.to(cpu()), to);
  }
}

}  // namespace

Tensor Tensor::empty(const Shape& shape, DType dtype, Device& device) {
  Tensor x;
  x.storage_ = std::make_shared<Storage>(device, static_cast<std::size_t>(shape.numel()) * size_of(dtype));
  x.shape_ = shape;
  x.strides_ = row_major(shape);
  x.dtype_ = dtype;
  return x;
}

Tensor Tensor::full(const Shape& shape, DType dtype, double value, Device& device) {
  Tensor x = empty(shape, dtype, device);
  x.fill(value);
  return x;
}

Tensor Tensor::from_bytes(const void* values, std::size_t count, DType dtype, const Shape& shape, Device& device) {
  check(static_cast<std::int64_t>(count) == shape.numel(), "{} values were given for shape {}", count, shape);
  Tensor x = empty(shape, dtype, device);
  device.from_host(values, x);
  return x;
}

bool Tensor::is_contiguous() const {
  std::int64_t step = 1;
  for (int i = rank() - 1; i >= 0; --i) {
    if (shape_[i] != 1 && strides_[i] != step) return false;
    step *= shape_[i];
  }
  return true;
}

Tensor Tensor::view(const Shape& shape) const {
  check(shape.numel() == numel(), "a tensor of shape {} cannot be viewed as {}", shape_, shape);
  check(is_contiguous(), "only a contiguous tensor can be viewed as another shape; {} is strided", shape_);
  Tensor x = *this;
  x.shape_ = shape;
  x.strides_ = row_major(shape);
  return x;
}

Tensor Tensor::slice(int dim, std::int64_t begin, std::int64_t end) const {
  const int d = dim < 0 ? dim + rank() : dim;
  check(0 <= begin && begin <= end && end <= shape_.at(d), "slice [{}, {}) is out of range in dimension {} of {}",
        begin, end, d, shape_);
  Tensor x = *this;
  x.offset_ += begin * strides_[d];
  x.shape_[d] = end - begin;
  return x;
}

Tensor Tensor::transpose(int a, int b) const {
  const int i = a < 0 ? a + rank() : a;
  const int j = b < 0 ? b + rank() : b;
  shape_.at(i), shape_.at(j);
  Tensor x = *this;
  std::swap(x.shape_[i], x.shape_[j]);
  std::swap(x.strides_[i], x.strides_[j]);
  return x;
}

Tensor Tensor::split_last(std::int64_t parts, std::int64_t width) const {
  check(rank() >= 1 && dim(-1) == parts * width, "the last dimension of {} is not {} x {}", shape_, parts, width);
  Tensor x = *this;
  const int last = rank() - 1;
  const std::int64_t step = strides_[last];
  x.shape_[last] = parts;
  x.shape_.push_back(width);
  x.strides_[last] = width * step;
  x.strides_[last + 1] = step;
  return x;
}

Tensor Tensor::clone() const {
  Tensor x = empty_like();
  x.copy_from(*this);
  return x;
}

Tensor Tensor::contiguous() const { return is_contiguous() ? *this : clone(); }

Tensor Tensor::to(DType dtype) const {
  if (dtype == dtype_) return *this;
  Tensor x = empty(shape_, dtype, device());
  x.copy_from(*this);
  return x;
}

Tensor Tensor::to(Device& target) const {
  if (&target == &device()) return *this;
  Tensor x = empty(shape_, dtype_, target);
  transfer(*this, x);
  return x;
}

void Tensor::copy_from(const Tensor& from) const {
  if (&from.device() == &device()) return device().copy(from, *this);
  check(from.shape() == shape_, "cannot copy a tensor of shape {} to {}", from.shape(), shape_);
  const Tensor converted = from.to(dtype_);
  if (is_contiguous()) return transfer(converted, *this);
  device().copy(converted.to(device()), *this);
}

template <class T>
std::vector<T> Tensor::to_vector() const {
  const Tensor x = to(DTypeOf<T>::value);
  std::vector<T> values(static_cast<std::size_t>(numel()));
  device().to_host(x, values.data());
  return values;
}
template std::vector<float> Tensor::to_vector<float>() const;
template std::vector<double> Tensor::to_vector<double>() const;
template std::vector<BFloat16> Tensor::to_vector<BFloat16>() const;
template std::vector<Float16> Tensor::to_vector<Float16>() const;
template std::vector<std::int8_t> Tensor::to_vector<std::int8_t>() const;
template std::vector<std::uint8_t> Tensor::to_vector<std::uint8_t>() const;
template std::vector<std::int32_t> Tensor::to_vector<std::int32_t>() const;
template std::vector<std::int64_t> Tensor::to_vector<std::int64_t>() const;

double Tensor::item() const {
  check(numel() == 1, "item() needs a tensor of one element; this has shape {}", shape_);
  return to_vector<double>()[0];
}

void Tensor::require(DType dtype) const {
  check(defined(), "an undefined tensor has no data");
  check(dtype == dtype_, "the tensor holds {}, not {}", name_of(dtype_), name_of(dtype));
}

}  // namespace skymm
