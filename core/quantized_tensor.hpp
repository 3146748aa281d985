// A matrix in few bits an element: codes, and the scales that say what a code is worth. Plain data that layers hold and
// files store; the kernels (ops/kernels/kernels.hpp) make it and compute with it.
#pragma once

#include <string_view>
#include <vector>

#include "core/tensor.hpp"

namespace skymm {

// int8: w = scale code, code in [-127, 127], one scale for each row (output channel).
// nf4:  w = scale nf4_values[code], one scale, the largest |w|, for each block of 64 elements of a row (QLoRA: Dettmers
//       et al. 2023, appendix E). Where rows are a multiple of 64 these are the codes and blocks of bitsandbytes.
enum class QuantizedFormat : std::uint8_t { int8, nf4 };
std::string_view name_of(QuantizedFormat format);

// Quantiles of a normal distribution, scaled to [-1, 1], with an exact zero.
inline constexpr float nf4_values[16] = {-1.0F,
                                         -0.6961928009986877F,
                                         -0.5250730514526367F,
                                         -0.39491748809814453F,
                                         -0.28444138169288635F,
                                         -0.18477343022823334F,
                                         -0.09105003625154495F,
                                         0.0F,
                                         0.07958029955625534F,
                                         0.16093020141124725F,
                                         0.24611230194568634F,
                                         0.33791524171829224F,
                                         0.44070982933044434F,
                                         0.5626170039176941F,
                                         0.7229568362236023F,
                                         1.0F};
inline constexpr std::int64_t nf4_block = 64;     // elements of a row that share a scale
inline constexpr std::int64_t scale_group = 256;  // scales that share a step, with double quantisation

// How a weight is brought into few bits. double_quantization (nf4 only) keeps scales in 8 bits too: 0.13 bits an
// element instead of 0.5.
struct Quantization {
  QuantizedFormat format = QuantizedFormat::nf4;
  bool double_quantization = false;
  bool operator==(const Quantization&) const = default;
};

struct QuantizedTensor {
  QuantizedFormat format = QuantizedFormat::nf4;
  Shape shape;          // of the weight: [rows, columns], or more dimensions, whose first is the rows
  Tensor codes;         // int8: i8 [rows, columns]. nf4: u8 [rows, ceil(columns / 2)], the first of two elements above
  Tensor scales;        // f32 [rows, blocks]; with double quantisation i8, of which scale = offset + step code
  Tensor scale_steps;   // with double quantisation: f32 [ceil(rows blocks / 256)], over the scales row by row
  Tensor scale_offset;  // with double quantisation: f32 [1], the mean of the scales

  bool defined() const { return codes.defined(); }
  bool is_double() const { return scale_steps.defined(); }
  std::int64_t rows() const { return shape[0]; }
  std::int64_t columns() const { return rows() == 0 ? 0 : shape.numel() / rows(); }
  std::int64_t blocks() const { return blocks_of(format, columns()); }  // scales of a row
  std::size_t bytes() const;
  std::vector<Tensor> tensors() const;  // codes, scales and, where it has them, their steps and offset

  static std::int64_t blocks_of(QuantizedFormat format, std::int64_t columns) {
    return format == QuantizedFormat::int8 ? 1 : (columns + nf4_block - 1) / nf4_block;
  }
  static std::int64_t code_bytes_of(QuantizedFormat format, std::int64_t columns) {  // of a row
    return format == QuantizedFormat::int8 ? columns : (columns + 1) / 2;
  }
  // With memory for the codes and scales of a weight of `shape`, in the purpose in scope. Throws Error for int8 with
  // double quantisation.
  static QuantizedTensor empty(const Shape& shape, const Quantization& how, Device& device = cpu());
};

// Throws Error, in the name of `name`, unless the tensors have the shapes and types that the format asks for.
void check_layout(const QuantizedTensor& x, std::string_view name);

}  // namespace skymm
