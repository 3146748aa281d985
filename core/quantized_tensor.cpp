#include "core/quantized_tensor.hpp"

#include "core/error.hpp"

namespace skymm {

std::string_view name_of(QuantizedFormat format) { return format == QuantizedFormat::int8 ? "int8" : "nf4"; }

std::size_t QuantizedTensor::bytes() const {
  std::size_t sum = 0;
  for (const Tensor& x : tensors()) sum += x.bytes();
  return sum;
}

std::vector<Tensor> QuantizedTensor::tensors() const {
  std::vector<Tensor> all{codes, scales, scale_steps, scale_offset};
  std::erase_if(all, [](const Tensor& x) { return !x.defined(); });
  return all;
}

QuantizedTensor QuantizedTensor::empty(const Shape& shape, const Quantization& how, Device& device) {
  check(shape.rank() >= 2, "a weight of shape {} cannot be quantised; it must be a matrix", shape);
  check(!how.double_quantization || how.format == QuantizedFormat::nf4,
        "double quantisation is for nf4; int8 has one scale a row, which is little already");
  QuantizedTensor x{.format = how.format, .shape = shape};
  const bool nf4 = how.format == QuantizedFormat::nf4;
  x.codes = Tensor::empty({x.rows(), code_bytes_of(how.format, x.columns())}, nf4 ? DType::u8 : DType::i8, device);
  x.scales = Tensor::empty({x.rows(), x.blocks()}, how.double_quantization ? DType::i8 : DType::f32, device);
  if (how.double_quantization) {
    x.scale_steps = Tensor::empty({(x.rows() * x.blocks() + scale_group - 1) / scale_group}, DType::f32, device);
    x.scale_offset = Tensor::empty({1}, DType::f32, device);
  }
  return x;
}

void check_layout(const QuantizedTensor& x, std::string_view name) {
  check(x.defined() && x.scales.defined() && x.scale_offset.defined() == x.is_double() && x.shape.rank() >= 2,
        "{}: a quantised weight lacks codes, scales or a shape", name);
  const auto is = [&](const Tensor& part, std::string_view what, const Shape& shape, DType dtype) {
    check(part.shape() == shape && part.dtype() == dtype && part.is_contiguous(),
          "{}: the {} of a weight {} in {} are {} {}; they must be {} {}", name, what, x.shape, name_of(x.format),
          name_of(part.dtype()), part.shape(), name_of(dtype), shape);
  };
  check(!x.is_double() || x.format == QuantizedFormat::nf4, "{}: only nf4 has doubly quantised scales", name);
  is(x.codes, "codes", {x.rows(), QuantizedTensor::code_bytes_of(x.format, x.columns())},
     x.format == QuantizedFormat::nf4 ? DType::u8 : DType::i8);
  is(x.scales, "scales", {x.rows(), x.blocks()}, x.is_double() ? DType::i8 : DType::f32);
  if (!x.is_double()) return;
  is(x.scale_steps, "steps of the scales", {(x.rows() * x.blocks() + scale_group - 1) / scale_group}, DType::f32);
  is(x.scale_offset, "offset of the scales", {1}, DType::f32);
}

}  // namespace skymm
