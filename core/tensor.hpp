// A tensor: a typed, strided view of shared storage on a device. A handle: copying it copies no elements.
//
//   Tensor x = Tensor::empty({tokens, hidden}, DType::bf16);
//   Tensor gate = x.slice(1, 0, hidden / 2);   // a view: same storage, other shape and strides
//
// Operations that compute are enqueued on the device's current stream (core/stream.hpp): only to_vector() and item()
// wait for their result.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/device.hpp"
#include "core/dtype.hpp"
#include "core/shape.hpp"

namespace skymm {

class Tensor {
 public:
  Tensor() = default;  // undefined: no storage, defined() is false

  static Tensor empty(const Shape& shape, DType dtype, Device& device = cpu());
  static Tensor full(const Shape& shape, DType dtype, double value, Device& device = cpu());
  static Tensor zeros(const Shape& shape, DType dtype, Device& device = cpu()) { return full(shape, dtype, 0, device); }
  // Row-major host values; throws Error unless their number is the shape's.
  template <class T>
  static Tensor from(std::span<const T> values, const Shape& shape, Device& device = cpu()) {
    return from_bytes(values.data(), values.size(), DTypeOf<T>::value, shape, device);
  }
  template <class T>
  static Tensor from(const std::vector<T>& values, const Shape& shape, Device& device = cpu()) {
    return from(std::span<const T>(values), shape, device);
  }

  bool defined() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  int rank() const { return shape_.rank(); }
  std::int64_t dim(int i) const { return shape_.at(i); }                         // negative: from the end
  std::int64_t stride(int i) const { return strides_[i < 0 ? i + rank() : i]; }  // in elements
  std::int64_t numel() const { return shape_.numel(); }
  std::size_t bytes() const { return static_cast<std::size_t>(numel()) * size_of(dtype_); }
  DType dtype() const { return dtype_; }
  Device& device() const { return storage_->device(); }
  bool is_contiguous() const;
  // True where no other tensor views the storage, so that it may be overwritten unseen.
  bool is_unique() const { return storage_.use_count() == 1; }
  bool shares_storage(const Tensor& other) const { return storage_ == other.storage_; }
  Storage& storage() const { return *storage_; }

  // The first element. For kernels, inside work that runs on the stream. Throws Error on another dtype.
  template <class T>
  T* data() const {
    require(DTypeOf<T>::value);
    return static_cast<T*>(raw());
  }
  void* raw() const {
    return static_cast<char*>(storage_->data()) + offset_ * static_cast<std::int64_t>(size_of(dtype_));
  }

  // Views: no element moves.
  Tensor view(const Shape& shape) const;  // contiguous tensors only; same number of elements
  Tensor slice(int dim, std::int64_t begin, std::int64_t end) const;
  Tensor transpose(int a, int b) const;
  Tensor split_last(std::int64_t parts, std::int64_t width) const;  // [..., parts * width] -> [..., parts, width]

  // New tensors.
  Tensor clone() const;       // contiguous, own storage
  Tensor contiguous() const;  // itself where it is already
  Tensor to(DType dtype) const;
  Tensor to(Device& device) const;  // itself where it is already
  Tensor empty_like() const { return empty(shape_, dtype_, device()); }

  // In place.
  void copy_from(const Tensor& from) const;  // converted; waits for `from` where that is on another device
  void fill(double value) const { device().fill(*this, value); }
  void add(const Tensor& x, float scale = 1.0F) const { device().add(x, *this, scale); }  // this += scale x

  // Blocking: the elements on the host, row-major, converted to T.
  template <class T = float>
  std::vector<T> to_vector() const;
  double item() const;  // the one element

 private:
  static Tensor from_bytes(const void* values, std::size_t count, DType dtype, const Shape& shape, Device& device);
  void require(DType dtype) const;

  std::shared_ptr<Storage> storage_;
  std::int64_t offset_ = 0;  // elements
  Shape shape_;
  std::array<std::int64_t, Shape::max_rank> strides_{};
  DType dtype_ = DType::f32;
};

}  // namespace skymm
